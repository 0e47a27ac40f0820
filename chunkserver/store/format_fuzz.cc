// Any bytes as what a chunkserver finds on its disk: header of a chunk file, superblock, header and
// frames of a journal, names of files. Nothing crashes; what was understood is written again and
// read as the same. The first byte says which, and whether the checksum is made right, since
// otherwise nothing behind it would ever be reached.
#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "chunkserver/store/chunk_file.h"
#include "chunkserver/store/journal_format.h"
#include "chunkserver/store/superblock.h"

namespace moraine::chunkserver {
namespace {

constexpr size_t kSectorChecksumAt = kSectorBytes - sizeof(uint64_t);  // of both headers

void Mend(MutableBytes covered, std::byte* at) { StoreLittle64(at, BlockChecksum(covered)); }

void TryChunkHeader(MutableBytes page, bool mend) {
  if (mend) {
    std::memcpy(page.data(), "MRNCHUNK", 8);
    StoreLittle32(page.data() + 8, 1);
    Mend(page.first(kSectorChecksumAt), page.data() + kSectorChecksumAt);
  }
  const auto header = DecodeChunkHeader(page);
  if (!header.ok()) return;
  alignas(8) static std::byte again[kPageBytes];
  EncodeChunkHeader(*header, again);
  const auto second = DecodeChunkHeader(again);
  MORAINE_CHECK(second.ok() && *second == *header);
}

void TrySuperblock(MutableBytes page, bool mend) {
  if (mend) {
    std::memcpy(page.data(), "MRNSTORE", 8);
    StoreLittle32(page.data() + 8, 1);
    const size_t room = page.size() - 24;
    const size_t payload = std::min<size_t>(LoadLittle32(page.data() + 12), room);
    Mend(page.subspan(24, payload), page.data() + 16);
  }
  const auto superblock = DecodeSuperblock(page, "superblock");
  if (!superblock.ok()) return;
  alignas(8) static std::byte again[kPageBytes];
  EncodeSuperblock(*superblock, again);
  const auto second = DecodeSuperblock(again, "superblock");
  MORAINE_CHECK(second.ok() && second->incarnation == superblock->incarnation);
  MORAINE_CHECK(second->cluster == superblock->cluster && second->server == superblock->server);
  MORAINE_CHECK(second->journal_id == superblock->journal_id);
}

void TryJournalHeader(MutableBytes page, bool mend) {
  if (mend) {
    std::memcpy(page.data(), "MRNJOURN", 8);
    StoreLittle32(page.data() + 8, 1);
    Mend(page.first(kSectorChecksumAt), page.data() + kSectorChecksumAt);
  }
  const auto header = DecodeJournalHeader(page);
  if (!header.ok()) return;
  alignas(8) static std::byte again[kPageBytes];
  EncodeJournalHeader(*header, again);
  const auto second = DecodeJournalHeader(again);
  MORAINE_CHECK(second.ok() && second->id == header->id);
  MORAINE_CHECK(second->region_bytes == header->region_bytes);
}

// The records of a frame, each encoded in its only form, must give the same payload.
void CheckRecords(const FrameHeader& header, ConstBytes frame,
                  const std::vector<DecodedRecord>& records) {
  FrameBuilder builder(header.frame_bytes);
  for (const DecodedRecord& record : records) {
    MORAINE_CHECK(record.number <= limits::kChunkBytesMax);
    MORAINE_CHECK(builder.Add(record, std::span(&record.bytes, 1)));
  }
  const ConstBytes again = builder.Finish(header.journal_id, header.sequence, 0, header.tail);
  MORAINE_CHECK(std::ranges::equal(again.subspan(kFrameHeaderBytes, header.payload_bytes),
                                   frame.subspan(kFrameHeaderBytes, header.payload_bytes)));
}

void TryFrame(MutableBytes frame, size_t size, bool mend) {
  uint64_t journal_id = LoadLittle64(frame.data() + 16);
  if (mend) {
    std::memcpy(frame.data(), "MRNFRAME", 8);
    StoreLittle32(frame.data() + 8, 1);
    StoreLittle32(frame.data() + 12, static_cast<uint32_t>(frame.size()));
    StoreLittle64(frame.data() + 24, 9);  // sequence
    StoreLittle64(frame.data() + 40, 3);  // tail
    const size_t payload = std::max<size_t>(size, kFrameHeaderBytes) - kFrameHeaderBytes;
    StoreLittle32(frame.data() + 48, static_cast<uint32_t>(payload));
    StoreLittle64(frame.data() + 56, 0);
    Mend(frame, frame.data() + 56);
  }
  const auto header = PeekFrameHeader(frame, journal_id);
  if (!header) return;
  MORAINE_CHECK(header->frame_bytes <= kJournalFrameBytesMax);
  if (!CheckFrame(*header, frame).ok()) return;
  const auto records = DecodeRecords(*header, frame);
  if (records.ok()) CheckRecords(*header, frame, *records);
}

void TryFileName(std::string_view name) {
  const auto chunk = ParseChunkFileName(name);
  if (!chunk.ok()) return;
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  MORAINE_CHECK(ChunkPath(*chunk) == ChunkDirectory(*chunk) + "/" + lower);
}

void Fuzz(const uint8_t* data, size_t size) {
  if (size == 0) return;
  const bool mend = (data[0] & 0x80) != 0;
  const uint8_t what = data[0] & 0x7f;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  alignas(8) static std::byte pages[4 * kPageBytes];
  const size_t used = std::min(bytes.size(), sizeof(pages));
  const MutableBytes whole(pages, std::max<size_t>(BlockCeil(used), kPageBytes));
  std::memset(whole.data(), 0, whole.size());
  if (used > 0) std::memcpy(whole.data(), bytes.data(), used);
  switch (what % 5) {
    case 0:
      return TryChunkHeader(whole.first(kPageBytes), mend);
    case 1:
      return TrySuperblock(whole.first(kPageBytes), mend);
    case 2:
      return TryJournalHeader(whole.first(kPageBytes), mend);
    case 3:
      return TryFrame(whole, used, mend);
    default:
      return TryFileName(
          std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
}

}  // namespace
}  // namespace moraine::chunkserver

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::chunkserver::Fuzz(data, size);
  return 0;
}
