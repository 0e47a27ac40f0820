#include "chunkserver/store/journal_format.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "base/loop/disk.h"

namespace moraine::chunkserver {
namespace {

constexpr char kJournalMagic[8] = {'M', 'R', 'N', 'J', 'O', 'U', 'R', 'N'};
constexpr char kFrameMagic[8] = {'M', 'R', 'N', 'F', 'R', 'A', 'M', 'E'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderChecksumAt = kSectorBytes - sizeof(uint64_t);
constexpr size_t kFrameChecksumAt = 56;

bool CarriesOrigin(RecordKind kind) {
  return kind == RecordKind::kState || kind == RecordKind::kDamaged;
}

void EncodeRecord(const JournalRecord& record, std::string* out) {
  Writer writer(out);
  writer.U8(static_cast<uint8_t>(record.kind));
  writer.Id(record.chunk);
  writer.U64(record.incarnation);
  writer.Id(record.epoch);
  writer.Varint(record.number);
  if (!CarriesOrigin(record.kind)) return;
  writer.Id(record.origin.inode);
  writer.Varint(record.origin.file_offset);
  writer.String(std::string_view(record.origin.policy).substr(0, kNameTextMax));
  writer.U8(static_cast<uint8_t>(record.origin.replicas));
  writer.U8(static_cast<uint8_t>(record.origin.quorum));
  writer.U8(static_cast<uint8_t>(record.origin.floor));
  writer.U8(static_cast<uint8_t>(record.origin.made));
}

DecodedRecord DecodeRecord(Reader& reader) {
  DecodedRecord record;
  const uint8_t kind = reader.U8();
  if (kind < static_cast<uint8_t>(RecordKind::kState) ||
      kind > static_cast<uint8_t>(RecordKind::kDamaged)) {
    reader.Fail();
    return record;
  }
  record.kind = static_cast<RecordKind>(kind);
  record.chunk = reader.Id<ChunkId>();
  record.incarnation = reader.U64();
  record.epoch = reader.Id<Epoch>();
  record.number = reader.VarintAtMost(limits::kChunkBytesMax);
  if (CarriesOrigin(record.kind)) {
    record.origin.inode = reader.Id<InodeId>();
    record.origin.file_offset = reader.Varint();
    record.origin.policy = std::string(reader.String(kNameTextMax));
    record.origin.replicas = reader.U8();
    record.origin.quorum = reader.U8();
    record.origin.floor = reader.U8();
    record.origin.made = reader.U8();
  }
  const std::string_view bytes = reader.String(kJournalFrameBytesMax);
  record.bytes = std::as_bytes(std::span(bytes.data(), bytes.size()));
  return record;
}

}  // namespace

void EncodeJournalHeader(const JournalHeader& header, MutableBytes page) {
  MORAINE_CHECK(page.size() == kPageBytes);
  std::memset(page.data(), 0, page.size());
  std::memcpy(page.data(), kJournalMagic, sizeof(kJournalMagic));
  StoreLittle32(page.data() + 8, kVersion);
  StoreLittle64(page.data() + 16, header.id);
  StoreLittle64(page.data() + 24, header.region_bytes);
  StoreLittle64(page.data() + kHeaderChecksumAt, BlockChecksum(page.first(kHeaderChecksumAt)));
}

Result<JournalHeader> DecodeJournalHeader(ConstBytes page) {
  if (page.size() < kSectorBytes ||
      std::memcmp(page.data(), kJournalMagic, sizeof(kJournalMagic)) != 0) {
    return {Code::kCorruption, "not a journal"};
  }
  if (BlockChecksum(page.first(kHeaderChecksumAt)) !=
      LoadLittle64(page.data() + kHeaderChecksumAt)) {
    return {Code::kCorruption, "the journal's header does not match its checksum"};
  }
  const uint32_t version = LoadLittle32(page.data() + 8);
  if (version != kVersion) {
    return {Code::kWrongVersion,
            fmt::format("journal of version {}, this program knows {}", version, kVersion)};
  }
  JournalHeader header{LoadLittle64(page.data() + 16), LoadLittle64(page.data() + 24)};
  if (header.region_bytes % kPageBytes != 0 || header.region_bytes < kJournalRegionBytesMin) {
    return {Code::kCorruption, "the journal's header has impossible values"};
  }
  return header;
}

FrameBuilder::FrameBuilder(uint64_t bytes_max)
    : bytes_max_(bytes_max), storage_(Buffer::Allocate(bytes_max)) {}

bool FrameBuilder::Add(const JournalRecord& record, std::span<const ConstBytes> bytes) {
  uint64_t size = 0;
  for (const ConstBytes& piece : bytes) size += piece.size();
  scratch_.clear();
  EncodeRecord(record, &scratch_);
  Writer(&scratch_).Varint(size);  // as String() would
  MORAINE_CHECK(scratch_.size() <= kRecordOverheadMax);
  if (end_ + scratch_.size() + size > bytes_max_) return false;
  std::byte* at = storage_.data() + end_;
  std::memcpy(at, scratch_.data(), scratch_.size());
  at += scratch_.size();
  for (const ConstBytes& piece : bytes) {
    if (piece.empty()) continue;
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  end_ += scratch_.size() + size;
  ++records_;
  return true;
}

uint64_t FrameBuilder::frame_bytes() const { return BlockCeil(end_); }

ConstBytes FrameBuilder::Finish(uint64_t journal_id, uint64_t sequence, uint64_t position,
                                uint64_t tail) {
  const uint64_t bytes = frame_bytes();
  std::byte* at = storage_.data();
  std::memset(at, 0, kFrameHeaderBytes);
  std::memset(at + end_, 0, bytes - end_);
  std::memcpy(at, kFrameMagic, sizeof(kFrameMagic));
  StoreLittle32(at + 8, kVersion);
  StoreLittle32(at + 12, static_cast<uint32_t>(bytes));
  StoreLittle64(at + 16, journal_id);
  StoreLittle64(at + 24, sequence);
  StoreLittle64(at + 32, position);
  StoreLittle64(at + 40, tail);
  StoreLittle32(at + 48, static_cast<uint32_t>(end_ - kFrameHeaderBytes));
  StoreLittle32(at + 52, records_);
  const ConstBytes frame(at, bytes);
  StoreLittle64(at + kFrameChecksumAt, BlockChecksum(frame));
  return frame;
}

std::optional<FrameHeader> PeekFrameHeader(ConstBytes bytes, uint64_t journal_id) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  const std::byte* at = bytes.data();
  if (std::memcmp(at, kFrameMagic, sizeof(kFrameMagic)) != 0 || LoadLittle32(at + 8) != kVersion ||
      LoadLittle64(at + 16) != journal_id) {
    return std::nullopt;
  }
  FrameHeader header;
  header.journal_id = journal_id;
  header.frame_bytes = LoadLittle32(at + 12);
  header.sequence = LoadLittle64(at + 24);
  header.position = LoadLittle64(at + 32);
  header.tail = LoadLittle64(at + 40);
  header.payload_bytes = LoadLittle32(at + 48);
  header.records = LoadLittle32(at + 52);
  const bool sane = header.frame_bytes % kPageBytes == 0 && header.frame_bytes >= kPageBytes &&
                    header.frame_bytes <= kJournalFrameBytesMax && header.sequence > 0 &&
                    header.tail > 0 && header.tail <= header.sequence &&
                    header.payload_bytes + kFrameHeaderBytes <= header.frame_bytes;
  if (!sane) return std::nullopt;
  return header;
}

Status CheckFrame(const FrameHeader& header, MutableBytes frame) {
  if (frame.size() != header.frame_bytes)
    return {Code::kCorruption, "a journal frame is cut short"};
  std::byte* at = frame.data();
  const uint64_t said = LoadLittle64(at + kFrameChecksumAt);
  StoreLittle64(at + kFrameChecksumAt, 0);
  const bool match = BlockChecksum(frame) == said;
  StoreLittle64(at + kFrameChecksumAt, said);
  if (!match || LoadLittle64(at + 24) != header.sequence) {
    return {Code::kCorruption,
            fmt::format("journal frame {} does not match its checksum", header.sequence)};
  }
  return Status::Ok();
}

Result<std::vector<DecodedRecord>> DecodeRecords(const FrameHeader& header, ConstBytes frame) {
  if (frame.size() < kFrameHeaderBytes + header.payload_bytes) {
    return {Code::kCorruption, "a journal frame is cut short"};
  }
  Reader reader(frame.subspan(kFrameHeaderBytes, header.payload_bytes));
  std::vector<DecodedRecord> records;
  for (uint32_t i = 0; i < header.records && reader.ok(); ++i)
    records.push_back(DecodeRecord(reader));
  MORAINE_RETURN_IF_ERROR(reader.Finish("journal frame"));
  return records;
}

}  // namespace moraine::chunkserver
