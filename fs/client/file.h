// One open file of a client: reads, writes anywhere, an append stream at its end, and its caches.
//
// Writes. Bytes at the end of the file go into the append stream of its tail chunk; bytes elsewhere
// are buffered and become new extents at Flush. A file that stays within limits::kInlineBytesMax is
// kept in its inode record. Write and Append return when the bytes are taken over (bounded: they
// wait while the window is full); Flush when others that open the file see them; Sync when they are
// on disk as the file's policy says, and the metaserver's record of them is too: all that was done
// to the file before, by whatever opening of this client. Of a stream that only grows that costs no
// call to the metaserver.
//
// An error of the background (a failed append that no new chunk could mend, a lost lease, kIo for
// unsynced bytes that went with their servers) is kept and returned by every later Write, Append,
// Flush, Sync and Close. It never turns into silence.
//
// Confined to the client's loop; calls may be concurrent (they order themselves).
#pragma once

#include <memory>
#include <string>

#include "base/buffer.h"
#include "base/loop/net.h"
#include "base/loop/task.h"
#include "base/status.h"
#include "fs/client/types.h"

namespace moraine::fs {

class Client;

// Bytes read: pieces in order, kept alive by `owners`; holes are zeros.
struct ReadBytes {
  std::vector<ConstBytes> pieces;
  std::vector<std::shared_ptr<const void>> owners;
  size_t size = 0;
  void CopyTo(std::byte* out) const;
};

class File {
 public:
  virtual ~File() = default;

  InodeId inode() const { return inode_; }
  // Size and times with this client's own writes.
  virtual Attributes attributes() const = 0;
  virtual uint64_t size() const = 0;

  // Up to `length` bytes from `offset`; fewer only at the end of the file.
  virtual Task<Result<ReadBytes>> Read(uint64_t offset, uint64_t length) = 0;
  // Reads of several ranges, in parallel; the first error wins.
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  virtual Task<Result<std::vector<ReadBytes>>> ReadRanges(std::vector<Range> ranges) = 0;

  // The bytes must stay until this returns; then they may be reused. kTimeout: nothing was taken.
  virtual Task<Status> Write(uint64_t offset, ConstBytes bytes) = 0;
  // Writes at the end, wherever that is now; gives the offset.
  virtual Task<Result<uint64_t>> Append(ConstBytes bytes) = 0;
  // Starts to send what is buffered, without waiting for answers.
  virtual void Push() = 0;
  virtual Task<Status> Flush() = 0;
  virtual Task<Status> Sync() = 0;
  virtual Task<Status> Truncate(uint64_t size) = 0;
  // Makes the file at least `size` long, with zeros; whoever may have made it longer meanwhile.
  virtual Task<Status> Extend(uint64_t size) = 0;

  // The first error of the background, or ok.
  virtual Status error() const = 0;

 protected:
  explicit File(InodeId inode) : inode_(inode) {}
  const InodeId inode_;
};

}  // namespace moraine::fs
