#include "chunkserver/store/sealed_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/hash.h"
#include "chunkserver/store/open_replica.h"

namespace moraine::chunkserver {

ReplicaInfo SealedReplica::Info() const {
  ReplicaInfo info;
  info.chunk = chunk;
  info.epoch = epoch;
  info.sealed = true;
  info.held = info.synced = info.committed = length;
  info.damaged = damaged;
  info.inode = inode;
  info.file_offset = file_offset;
  return info;
}

SealedReader::SealedReader(StoreContext& context)
    : context_(context),
      files_(context.options.open_files_max),
      pages_(context.options.checksum_pages_max) {}

Task<Result<std::shared_ptr<File>>> SealedReader::OpenFile(SealedReplica replica, bool direct) {
  OpenOptions options;
  options.direct = direct;
  auto opened =
      co_await context_.loop.disk().Open(context_.PathOf(ChunkPath(replica.chunk)), options);
  if (!opened.ok() && opened.code() == Code::kNotFound) {
    co_return Status(Code::kCorruption, "the chunk's file is missing");
  }
  if (!opened.ok()) co_return opened.status();
  co_return std::shared_ptr<File>(std::move(*opened));
}

Task<Result<std::shared_ptr<File>>> SealedReader::FileOf(SealedReplica replica) {
  const FileKey key{replica.chunk, replica.incarnation};
  if (auto cached = files_.Get(key)) co_return *cached;
  MORAINE_CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, co_await OpenFile(replica, false));
  files_.Put(key, file);
  co_return file;
}

Task<Result<std::shared_ptr<const SealedReader::ChecksumPage>>> SealedReader::PageOf(
    SealedReplica replica, std::shared_ptr<File> file, uint64_t group) {
  const PageKey key{{replica.chunk, replica.incarnation}, group};
  if (auto cached = pages_.Get(key)) co_return *cached;
  // The header first: in the file of another chunk the checksums match its bytes. Those of the
  // first group lie behind it.
  static_assert(ChecksumPageOffset(0) == kPageBytes);
  Buffer pages = Buffer::Allocate(2 * kPageBytes);
  const MutableBytes both = pages.bytes();
  const auto front = co_await file->ReadAt(0, group == 0 ? both : both.first(kPageBytes));
  const size_t read = front.ok() ? *front : 0;
  if (read < both.size()) {
    MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await file->ReadAt(ChecksumPageOffset(group),
                                                                         both.subspan(kPageBytes)));
    if (size < kPageBytes) co_return Status(Code::kCorruption, "the chunk's file is too short");
  }
  // A header that cannot be read says nothing, and its chunk may be good for all that; the scrubber
  // reports it.
  if (read >= kPageBytes) {
    const auto header = DecodeChunkHeader(both.first(kPageBytes));
    if (header.ok() && header->chunk != replica.chunk) {
      co_return Status(Code::kCorruption,
                       fmt::format("the file is that of chunk {}", header->chunk.value()));
    }
  }
  auto checksums = std::make_shared<ChecksumPage>();
  for (size_t i = 0; i < kGroupBlocks; ++i) {
    (*checksums)[i] = LoadLittle64(pages.data() + kPageBytes + i * sizeof(uint64_t));
  }
  pages_.Put(key, checksums);
  co_return std::shared_ptr<const ChecksumPage>(std::move(checksums));
}

Task<Result<std::vector<uint64_t>>> SealedReader::ChecksumsOf(SealedReplica replica,
                                                              std::shared_ptr<File> file,
                                                              uint64_t begin, uint64_t end) {
  std::vector<uint64_t> checksums;
  uint64_t block = begin / limits::kBlockBytes;
  while (block < BlocksOf(end)) {
    const uint64_t group = block / kGroupBlocks;
    auto page = co_await PageOf(replica, file, group);
    if (!page.ok()) co_return page.status();
    for (; block < BlocksOf(end) && block / kGroupBlocks == group; ++block) {
      checksums.push_back((**page)[block % kGroupBlocks]);
    }
  }
  co_return checksums;
}

Task<Result<ReadResult>> SealedReader::Read(SealedReplica replica, uint64_t offset,
                                            uint64_t length) {
  ReadResult result;
  result.sealed = true;
  result.visible = replica.length;
  result.offset = BlockFloor(offset);
  if (offset >= replica.length || length == 0) co_return result;
  const uint64_t end = std::min(replica.length, BlockCeil(offset + length));
  MORAINE_CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, co_await FileOf(replica));
  MORAINE_CO_ASSIGN_OR_RETURN(result.checksums,
                              co_await ChecksumsOf(replica, file, result.offset, end));
  result.bytes = Buffer::Allocate(BlockCeil(end) - result.offset);
  MORAINE_CO_RETURN_IF_ERROR(co_await ReadChunkBlocks(file, result.offset, result.bytes.bytes()));
  result.bytes.Shrink(end - result.offset);
  if (context_.options.verify_reads) {
    MORAINE_CO_RETURN_IF_ERROR(CheckPieces(result.offset, result.bytes.bytes(), result.checksums));
  }
  co_return result;
}

Task<Status> SealedReader::Verify(SealedReplica replica, uint64_t offset, uint64_t bytes) {
  const uint64_t end = std::min(replica.length, offset + bytes);
  if (offset >= end) co_return Status::Ok();
  MORAINE_CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, co_await OpenFile(replica, true));
  // Its own look at the checksum page too, not the cache's.
  std::vector<uint64_t> checksums;
  Buffer page = Buffer::Allocate(kPageBytes);
  for (uint64_t at = offset; at < end; at += limits::kBlockBytes) {
    if (at == offset || at % kGroupBytes == 0) {
      MORAINE_CO_ASSIGN_OR_RETURN(
          const size_t size,
          co_await file->ReadAt(ChecksumPageOffset(at / kGroupBytes), page.bytes()));
      if (size < kPageBytes) co_return Status(Code::kCorruption, "the chunk's file is too short");
    }
    const uint64_t index = at / limits::kBlockBytes % kGroupBlocks;
    checksums.push_back(LoadLittle64(page.data() + index * sizeof(uint64_t)));
  }
  Buffer data = Buffer::Allocate(BlockCeil(end) - offset);
  MORAINE_CO_RETURN_IF_ERROR(co_await ReadChunkBlocks(file, offset, data.bytes()));
  data.Shrink(end - offset);
  co_return CheckPieces(offset, data.bytes(), checksums);
}

Task<Status> SealedReader::VerifyHeader(SealedReplica replica) {
  MORAINE_CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, co_await OpenFile(replica, true));
  Buffer page = Buffer::Allocate(kPageBytes);
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await file->ReadAt(0, page.bytes()));
  if (size < kPageBytes) co_return Status(Code::kCorruption, "the chunk's file is too short");
  MORAINE_CO_ASSIGN_OR_RETURN(const ChunkHeader header, DecodeChunkHeader(page.bytes()));
  if (header.chunk != replica.chunk || header.incarnation != replica.incarnation ||
      !header.sealed || header.sealed_length != replica.length) {
    co_return Status(Code::kCorruption, "the header of the chunk's file is another replica's");
  }
  co_return Status::Ok();
}

void SealedReader::Forget(const SealedReplica& replica) {
  const FileKey key{replica.chunk, replica.incarnation};
  files_.Erase(key);
  for (uint64_t group = 0; group * kGroupBytes < replica.length; ++group)
    pages_.Erase({key, group});
}

}  // namespace moraine::chunkserver
