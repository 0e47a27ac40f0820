// Reads and verifies sealed replicas. Keeps the files and checksum pages that were used last, so
// that a read costs one disk read, or none from the page cache. Confined to one loop.
#pragma once

#include <array>
#include <memory>

#include "chunkserver/store/chunk_writer.h"
#include "chunkserver/store/lru.h"
#include "chunkserver/store/replica_types.h"

namespace moraine::chunkserver {

// The index entry of a sealed replica: everything is in its file.
struct SealedReplica {
  ChunkId chunk;
  uint64_t incarnation = 0;
  Epoch epoch;
  uint64_t length = 0;
  InodeId inode;
  uint64_t file_offset = 0;
  bool damaged = false;

  ReplicaInfo Info() const;
};

class SealedReader {
 public:
  explicit SealedReader(StoreContext& context);

  // Whole blocks around [offset, offset + length), cut at the chunk's length. kCorruption: the
  // replica is damaged.
  Task<Result<ReadResult>> Read(SealedReplica replica, uint64_t offset, uint64_t length);
  // Verifies the blocks from `offset` on, at most `bytes`, by direct reads that leave the page
  // cache alone.
  Task<Status> Verify(SealedReplica replica, uint64_t offset, uint64_t bytes);
  // Whether the file's header is whole and this replica's, by a direct read.
  Task<Status> VerifyHeader(SealedReplica replica);
  // Its file is gone or another one now.
  void Forget(const SealedReplica& replica);

 private:
  using ChecksumPage = std::array<uint64_t, kGroupBlocks>;
  using FileKey = std::pair<ChunkId, uint64_t>;  // with the incarnation
  using PageKey = std::pair<FileKey, uint64_t>;  // with the group

  // kCorruption when there is no file.
  Task<Result<std::shared_ptr<File>>> OpenFile(SealedReplica replica, bool direct);
  Task<Result<std::shared_ptr<File>>> FileOf(SealedReplica replica);
  Task<Result<std::shared_ptr<const ChecksumPage>>> PageOf(SealedReplica replica,
                                                           std::shared_ptr<File> file,
                                                           uint64_t group);
  Task<Result<std::vector<uint64_t>>> ChecksumsOf(SealedReplica replica, std::shared_ptr<File> file,
                                                  uint64_t begin, uint64_t end);

  StoreContext& context_;
  Lru<FileKey, std::shared_ptr<File>> files_;
  Lru<PageKey, std::shared_ptr<const ChecksumPage>> pages_;
};

}  // namespace moraine::chunkserver
