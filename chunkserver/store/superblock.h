// The superblock: whose store this directory is. One page, replaced as a whole: written to a
// temporary file, flushed, renamed, the directory flushed.
#pragma once

#include <string>

#include "base/ids.h"
#include "base/loop/loop.h"

namespace moraine::chunkserver {

struct Superblock {
  std::string incarnation;  // random text, made with the store: a wiped disk has another
  std::string cluster;      // empty until the first registration
  ServerId server;          // none until then
  uint64_t journal_id = 0;
};

// The page, without I/O. Texts longer than 256 bytes are cut. `path` is for the words of errors.
void EncodeSuperblock(const Superblock& superblock, MutableBytes page);
Result<Superblock> DecodeSuperblock(ConstBytes page, const std::string& path);

// kNotFound; kCorruption; kWrongVersion (made by a newer program).
Task<Result<Superblock>> ReadSuperblock(Loop& loop, std::string dir);
// Durable on return.
Task<Status> WriteSuperblock(Loop& loop, std::string dir, Superblock superblock);

}  // namespace moraine::chunkserver
