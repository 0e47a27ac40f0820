// What is known after a restart: replays the journal, reads the chunk files, and decides for each
// replica what may be believed (CHUNK_FILE.md section 5, JOURNAL.md section 5).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "chunkserver/store/journal_scan.h"
#include "chunkserver/store/open_replica.h"

namespace moraine::chunkserver {

// One incarnation as the journal tells it.
struct ReplayedReplica {
  ChunkId chunk;
  uint64_t incarnation = 0;
  Epoch epoch;
  ReplicaOrigin origin;
  bool has_state = false;
  uint64_t file_length = 0;
  std::vector<std::byte> bytes;  // from file_length on
  bool sealed = false;
  uint64_t sealed_length = 0;
  std::vector<std::byte> seal_block;
  bool deleted = false;
  bool tombstone = false;
  bool done = false;
  bool damaged = false;      // it was already, before the restart
  bool gap = false;          // bytes are missing between two records
  uint64_t first_frame = 0;  // the oldest one it needs
  uint64_t state_frame = 0;  // of its last STATE or TOMBSTONE

  uint64_t end() const { return file_length + bytes.size(); }
};

class JournalReplay {
 public:
  void Visit(uint64_t sequence, const std::vector<DecodedRecord>& records);
  // What is alive, by chunk: neither done nor without a state. At most one incarnation per chunk
  // (of several the youngest: a tombstone whose place was taken, or a damaged journal).
  std::map<ChunkId, ReplayedReplica> Take();

 private:
  void Apply(uint64_t sequence, const DecodedRecord& record);
  std::map<ChunkId, std::map<uint64_t, ReplayedReplica>> replicas_;
};

// One file of chunks/ as found.
struct FoundFile {
  Status status;  // not ok: the header cannot be used, or cannot be read
  ChunkHeader header;
  uint64_t bytes = 0;
};
Task<Result<FoundFile>> InspectChunkFile(StoreContext& context, ChunkId chunk);

// All names in chunks/, which are durable on return. Names that are not of chunks are logged and
// left alone.
Task<Result<std::vector<ChunkId>>> ListChunkFiles(StoreContext& context);

// Reads and verifies the file of a replica that the journal knows, and joins both. `file` is null
// when there is none of this incarnation. A block that cannot be read is one that does not verify.
// Errors: kIo (the file cannot be opened), kOverloaded.
Task<Result<OpenReplica::Found>> RecoverReplica(StoreContext& context, ReplayedReplica replayed,
                                                const FoundFile* file);

}  // namespace moraine::chunkserver
