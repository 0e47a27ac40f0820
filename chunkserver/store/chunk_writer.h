// The file of a replica that is being written: whole blocks, their checksums, the header.
//
// Owns the open file and the checksums of all whole blocks. The file is made by the first write.
// What is written is durable after Flush. One caller writes at a time (the replica sees to that);
// reads of blocks that are written may run beside it. Confined to one loop.
#pragma once

#include <memory>
#include <vector>

#include "chunkserver/store/chunk_file.h"
#include "chunkserver/store/pending_bytes.h"
#include "chunkserver/store/store_context.h"

namespace moraine::chunkserver {

class ChunkWriter {
 public:
  ChunkWriter(StoreContext& context, ChunkHeader header, std::string path);

  // Takes over a file that recovery or a copy has opened.
  void Adopt(std::shared_ptr<File> file, bool name_durable);
  bool has_file() const { return file_ != nullptr; }

  // The checksum of the block with this number, which is the next one or one to be replaced.
  void SetChecksum(uint64_t block, uint64_t checksum);
  void CutChecksums(uint64_t blocks);
  uint64_t checksum(uint64_t block) const { return checksums_[block]; }
  uint64_t blocks() const { return checksums_.size(); }
  // Checksums of blocks below are durable in the file already (recovery).
  void SetCleanBlocks(uint64_t blocks) { clean_blocks_ = blocks; }

  // Writes whole blocks; they do not cross a group.
  Task<Status> WriteBlocks(uint64_t chunk_offset, PendingBytes::Slice slice);
  // Writes the changed checksums of blocks below `blocks`.
  Task<Status> WriteChecksums(uint64_t blocks);
  Task<Status> WriteHeader(const ChunkHeader& header);
  Task<Status> Truncate(uint64_t file_bytes);
  // All that was written is durable, the name included.
  Task<Status> Flush();

  // Reads whole blocks; they may cross groups. Does not verify.
  Task<Status> ReadBlocks(uint64_t chunk_offset, MutableBytes out);

  const ChunkHeader& header() const { return header_; }
  const std::string& path() const { return path_; }

 private:
  Task<Status> EnsureFile();

  StoreContext& context_;
  ChunkHeader header_;
  const std::string path_;  // below the store's directory
  std::shared_ptr<File> file_;
  std::vector<uint64_t> checksums_;
  uint64_t clean_blocks_ = 0;
  uint64_t changes_ = 0;  // of checksums that were there: a write under way no longer counts
  bool name_durable_ = false;
};

// Reads whole blocks of a chunk file. kCorruption when the file ends before.
Task<Status> ReadChunkBlocks(std::shared_ptr<File> file, uint64_t chunk_offset, MutableBytes out);

}  // namespace moraine::chunkserver
