// Brings replicas here from other chunkservers: whole new ones (repair), or the missing end of one
// that a recovery has fenced. Reads block by block with their checksums, from the first source that
// has good bytes, and goes on with the next source where one fails. Confined to one loop.
#pragma once

#include <vector>

#include "chunkserver/store/store.h"
#include "rpc/channels.h"

namespace moraine::chunkserver {

struct CopySource {
  ServerId server;
  Endpoint endpoint;
};

class Copier {
 public:
  Copier(Loop& loop, Store& store, rpc::Channels& channels)
      : loop_(loop), store_(store), channels_(channels) {}

  // A new sealed replica of `length` bytes. Errors: the last source's, or the store's.
  Task<Result<ReplicaInfo>> CopyWhole(ChunkId chunk, Epoch epoch, uint64_t length,
                                      ReplicaOrigin origin, std::vector<CopySource> sources,
                                      Instant deadline);
  // Appends [what is held, length) to the open replica, which is fenced at `epoch`, durably. A
  // replica that is not here is created from `origin`.
  Task<Result<ReplicaInfo>> Extend(ChunkId chunk, Epoch epoch, uint64_t length,
                                   ReplicaOrigin origin, std::vector<CopySource> sources,
                                   Instant deadline);

 private:
  // One part, of block boundaries on both sides except at the chunk's end.
  struct Part {
    uint64_t offset = 0;
    std::shared_ptr<const Buffer> bytes;
    std::vector<uint64_t> checksums;
  };
  Task<Result<Part>> Fetch(ChunkId chunk, uint64_t offset, uint64_t length, uint64_t committed,
                           std::vector<CopySource>* sources, Instant deadline);
  Task<Result<Part>> FetchFrom(const CopySource& source, ChunkId chunk, uint64_t offset,
                               uint64_t length, uint64_t committed, Instant deadline);
  Task<Status> Fill(IncomingReplica& incoming, ChunkId chunk, std::vector<CopySource> sources,
                    Instant deadline);

  Loop& loop_;
  Store& store_;
  rpc::Channels& channels_;
};

}  // namespace moraine::chunkserver
