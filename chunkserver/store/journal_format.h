// The journal as it lies on the disk (JOURNAL.md sections 1 to 3): encode and decode, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/ids.h"
#include "base/loop/net.h"
#include "base/status.h"
#include "chunkserver/store/chunk_file.h"

namespace moraine::chunkserver {

inline constexpr uint64_t kJournalPrefixBytes = kPageBytes;  // before the region
inline constexpr uint64_t kJournalFrameBytesMax = 1ULL << 20;
inline constexpr uint64_t kJournalRegionBytesMin = 4ULL << 20;
// Frames stay small against the region, so that what a wrap wastes is small too.
constexpr uint64_t FrameBytesMax(uint64_t region_bytes) {
  const uint64_t share = BlockFloor(region_bytes / 16);
  return share < kJournalFrameBytesMax ? share : kJournalFrameBytesMax;
}
inline constexpr uint64_t kFrameHeaderBytes = 64;
// Bytes of a record besides its `bytes`, at most.
inline constexpr uint64_t kRecordOverheadMax = 256;

enum class RecordKind : uint8_t {
  kState = 1,
  kAppend = 2,
  kFence = 3,
  kSeal = 4,
  kDelete = 5,
  kDone = 6,
  kTombstone = 7,
  kDamaged = 8,
};

struct JournalRecord {
  RecordKind kind = RecordKind::kState;
  ChunkId chunk;
  uint64_t incarnation = 0;
  Epoch epoch;
  uint64_t number = 0;   // STATE: file length; APPEND: offset; SEAL: length
  ReplicaOrigin origin;  // STATE and DAMAGED only
};

struct DecodedRecord : JournalRecord {
  ConstBytes bytes;  // points into the frame
};

struct JournalHeader {
  uint64_t id = 0;
  uint64_t region_bytes = 0;
};
void EncodeJournalHeader(const JournalHeader& header, MutableBytes page);
// Errors: kCorruption, kWrongVersion.
Result<JournalHeader> DecodeJournalHeader(ConstBytes page);

struct FrameHeader {
  uint64_t journal_id = 0;
  uint64_t sequence = 0;
  uint64_t position = 0;
  uint64_t tail = 0;
  uint32_t frame_bytes = 0;
  uint32_t payload_bytes = 0;
  uint32_t records = 0;
};

// Gathers records and becomes one write.
class FrameBuilder {
 public:
  explicit FrameBuilder(uint64_t bytes_max);
  // False: it does not fit. The bytes are copied.
  bool Add(const JournalRecord& record, std::span<const ConstBytes> bytes);
  uint32_t records() const { return records_; }
  uint64_t frame_bytes() const;
  // Fills in the header (sizes and counts are known here) and the checksum.
  ConstBytes Finish(uint64_t journal_id, uint64_t sequence, uint64_t position, uint64_t tail);

 private:
  const uint64_t bytes_max_;
  Buffer storage_;
  uint64_t end_ = kFrameHeaderBytes;
  uint32_t records_ = 0;
  std::string scratch_;
};

// The header of a frame that may lie here: magic, id and sizes fit. Not the checksum.
std::optional<FrameHeader> PeekFrameHeader(ConstBytes bytes, uint64_t journal_id);
// Checks the whole frame. Errors: kCorruption.
Status CheckFrame(const FrameHeader& header, MutableBytes frame);
// The records of a checked frame. Error: kCorruption.
Result<std::vector<DecodedRecord>> DecodeRecords(const FrameHeader& header, ConstBytes frame);

}  // namespace moraine::chunkserver
