// Chunks from the metaserver for one of a file's two streams. Internal to fs/client.
#pragma once

#include <optional>
#include <vector>

#include "fs/chunkio/append_stream.h"
#include "fs/client/core.h"

namespace moraine::fs {

class FileSource final : public ChunkSource {
 public:
  // `tail`: the chunks are the file's end; else they are mapped by a commit.
  FileSource(ClientCore& core, InodeId inode, bool tail)
      : core_(core), inode_(inode), tail_(tail) {}

  // A stream begins. It gets its chunks from this session only: when that has ended others may have
  // written, and the next session would be granted a chunk all the same. `losses`: of the file.
  void Begin(uint32_t losses) {
    session_ = core_.link.session();
    losses_ = losses;
  }

  Task<Result<ChunkGrant>> NextChunk(std::optional<ChunkClose> previous, uint64_t offset,
                                     std::vector<ServerId> avoid,
                                     std::function<bool()> wanted) override;
  Task<Result<uint64_t>> AwaitSealed(ChunkId chunk, Instant deadline) override;

 private:
  ClientCore& core_;
  const InodeId inode_;
  const bool tail_;
  SessionId session_;
  uint32_t losses_ = 0;
};

}  // namespace moraine::fs
