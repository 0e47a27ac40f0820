#include "chunkserver/store/chunk_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/encoding.h"
#include "base/fault_point.h"

namespace moraine::chunkserver {

ChunkWriter::ChunkWriter(StoreContext& context, ChunkHeader header, std::string path)
    : context_(context), header_(std::move(header)), path_(std::move(path)) {}

void ChunkWriter::Adopt(std::shared_ptr<File> file, bool name_durable) {
  file_ = std::move(file);
  name_durable_ = name_durable;
}

void ChunkWriter::SetChecksum(uint64_t block, uint64_t checksum) {
  MORAINE_CHECK(block <= checksums_.size());
  if (block == checksums_.size()) {
    checksums_.push_back(checksum);
  } else {
    checksums_[block] = checksum;
    clean_blocks_ = std::min(clean_blocks_, block);
    ++changes_;
  }
}

void ChunkWriter::CutChecksums(uint64_t blocks) {
  if (blocks >= checksums_.size()) return;
  checksums_.resize(blocks);
  ++changes_;
  clean_blocks_ = std::min(clean_blocks_, blocks);
}

Task<Status> ChunkWriter::EnsureFile() {
  if (file_ != nullptr) co_return Status::Ok();
  OpenOptions options;
  options.write = options.create = options.direct = true;
  MORAINE_CO_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                              co_await context_.loop.disk().Open(context_.PathOf(path_), options));
  // A leftover of an earlier replica must not shine through.
  MORAINE_CO_RETURN_IF_ERROR(co_await file->Truncate(0));
  file_ = std::move(file);
  const Status status = co_await WriteHeader(header_);
  if (!status.ok()) file_ = nullptr;  // next time from the start
  co_return status;
}

Task<Status> ChunkWriter::WriteBlocks(uint64_t chunk_offset, PendingBytes::Slice slice) {
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureFile());
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("chunk.write_blocks"));
  co_return co_await file_->WriteAt(FileOffsetOf(chunk_offset), slice.pieces);
}

Task<Status> ChunkWriter::WriteChecksums(uint64_t blocks) {
  if (clean_blocks_ >= blocks) co_return Status::Ok();
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureFile());
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("chunk.write_checksums"));
  MORAINE_CHECK(blocks <= checksums_.size());
  const uint64_t last_group = (blocks - 1) / kGroupBlocks;
  for (uint64_t group = clean_blocks_ / kGroupBlocks; group <= last_group; ++group) {
    Buffer page = Buffer::Allocate(kPageBytes);
    std::memset(page.data(), 0, kPageBytes);
    const uint64_t first = group * kGroupBlocks;
    const uint64_t end = std::min(blocks, first + kGroupBlocks);
    for (uint64_t block = first; block < end; ++block) {
      StoreLittle64(page.data() + (block - first) * sizeof(uint64_t), checksums_[block]);
    }
    const ConstBytes piece = page.bytes();
    const uint64_t changes = changes_;
    MORAINE_CO_RETURN_IF_ERROR(
        co_await file_->WriteAt(ChecksumPageOffset(group), std::span(&piece, 1)));
    if (changes != changes_) break;  // a seal cut meanwhile; it writes the page again
    clean_blocks_ = std::max(clean_blocks_, end);
  }
  co_return Status::Ok();
}

Task<Status> ChunkWriter::WriteHeader(const ChunkHeader& header) {
  header_ = header;
  MORAINE_CO_RETURN_IF_ERROR(file_ == nullptr ? co_await EnsureFile() : Status::Ok());
  Buffer page = Buffer::Allocate(kPageBytes);
  EncodeChunkHeader(header_, page.bytes());
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("chunk.write_header"));
  const ConstBytes piece = page.bytes();
  co_return co_await file_->WriteAt(0, std::span(&piece, 1));
}

Task<Status> ChunkWriter::Truncate(uint64_t file_bytes) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t size, co_await file_->Size());
  if (size <= file_bytes) co_return Status::Ok();
  co_return co_await file_->Truncate(file_bytes);
}

Task<Status> ChunkWriter::Flush() {
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureFile());
  context_.metrics.file_syncs.Add();
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("chunk.sync"));
  MORAINE_CO_RETURN_IF_ERROR(OutcomeOfSync(co_await file_->Sync()));
  if (!name_durable_) {
    const std::string directory = path_.substr(0, path_.rfind('/'));
    MORAINE_CO_RETURN_IF_ERROR(
        OutcomeOfSync(co_await context_.loop.disk().SyncDirectory(context_.PathOf(directory))));
    name_durable_ = true;
  }
  co_return Status::Ok();
}

Task<Status> ChunkWriter::ReadBlocks(uint64_t chunk_offset, MutableBytes out) {
  if (file_ == nullptr) co_return Status(Code::kCorruption, "the replica has no file");
  co_return co_await ReadChunkBlocks(file_, chunk_offset, out);
}

Task<Status> ReadChunkBlocks(std::shared_ptr<File> file, uint64_t chunk_offset, MutableBytes out) {
  while (!out.empty()) {
    const uint64_t in_group = kGroupBytes - chunk_offset % kGroupBytes;
    const MutableBytes piece = out.first(std::min<uint64_t>(in_group, out.size()));
    MORAINE_CO_ASSIGN_OR_RETURN(const size_t size,
                                co_await file->ReadAt(FileOffsetOf(chunk_offset), piece));
    if (size < piece.size()) {
      co_return Status(
          Code::kCorruption,
          fmt::format("the chunk's file ends inside the block at {}", chunk_offset + size));
    }
    out = out.subspan(piece.size());
    chunk_offset += piece.size();
  }
  co_return Status::Ok();
}

}  // namespace moraine::chunkserver
