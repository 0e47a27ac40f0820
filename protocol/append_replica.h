// One replica's side of the append protocol (APPEND.md sections 3 and 4), without I/O.
//
// Owns the replica's knowledge: highest epoch, lengths, how far readers may see, and whether it is
// sealed. The embedder owns the bytes: it asks before it writes and reports when it has written.
// Not thread-safe: used by the one loop that owns the chunk.
//
// Three lengths, each at most the one before:
//   accepted  the next append must start here; bytes below are held or being written
//   held      written: a read would find them (this is what an acknowledgement promises)
//   synced    on disk: they survive a power cut
//
// What the embedder must do:
//   - create the replica durably (chunk, epoch) before the chunk's record says OPEN;
//   - write in the order of acceptance and report each write by OnWritten, in that order; send an
//     acknowledgement only where it returned true, for a sync only after OnSynced;
//   - make epoch() durable before it answers a fence, and the seal before it answers Seal;
//   - at start, read the state back through Reopened with bytes that it has flushed to disk.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "base/status.h"

namespace moraine::protocol {

// What travels with the bytes of one append. Zero bytes with `sync` is a plain sync; zero bytes
// without it only carries `committed`.
struct AppendHeader {
  Epoch epoch{};
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool sync = false;
  uint64_t committed = 0;  // the writer's committed length when it sent this

  uint64_t end() const { return offset + bytes; }
};

enum class AppendVerdict {
  kWrite,     // write the bytes, call OnWritten, sync if asked, then acknowledge
  kHeld,      // a resend of bytes that are held: sync if asked, then acknowledge
  kInFlight,  // a resend of bytes that are being written: acknowledge when that write is done
};

struct FenceAnswer {
  uint64_t length = 0;     // bytes held
  uint64_t synced = 0;     // of them on disk
  bool restarted = false;  // bytes that were held once may be gone
};

class AppendReplica {
 public:
  // A replica just created: empty, OPEN.
  AppendReplica(ChunkId chunk, Epoch epoch);

  // A replica found on disk at start. `durable_length` is what is there and flushed. An open
  // replica counts as restarted from here on: it takes no new bytes from a writer and vouches for
  // its durable bytes only. `sealed_length` is set if a seal was made durable.
  static AppendReplica Reopened(ChunkId chunk, Epoch epoch, uint64_t durable_length,
                                std::optional<uint64_t> sealed_length);

  // May these bytes be written? Errors, none of which changes anything:
  //   kFenced       older epoch than the highest known here
  //   kProtocol     newer epoch: only a fence brings one
  //   kSealed       sealed, or restarted, and the bytes are not held already
  //   kWrongOffset  a gap, or an overlap that is partly new (resend whole appends)
  //   kIo           an earlier write failed
  //   kTooLarge     past limits::kChunkBytesMax
  Result<AppendVerdict> Append(const AppendHeader& header);

  // The same for bytes that recovery copies from another replica. Also allowed when restarted.
  Result<AppendVerdict> Copy(Epoch epoch, uint64_t offset, uint64_t bytes);

  // The write that was accepted under `epoch` and ends at `end` is done. True if it counts and may
  // be acknowledged; false if a fence or a seal came between: then nothing may be sent.
  [[nodiscard]] bool OnWritten(Epoch epoch, uint64_t end);
  // A write failed: bytes past held() are forgotten and no more are taken.
  void OnWriteFailed();
  // A flush that covers all bytes below `end` is done.
  void OnSynced(uint64_t end);

  // Learns a higher epoch; from the return on nothing under an older one is accepted or
  // acknowledged. The answer may be sent once epoch() is durable. Asked again, it answers again.
  // Errors: kFenced (a higher epoch is known), kSealed.
  Result<FenceAnswer> Fence(Epoch epoch);

  // Recovery asks for a promise to have `length` bytes on disk. Ok: flush, OnSynced, then answer.
  // Errors: kFenced, kProtocol (not fenced at this epoch), kWrongOffset (shorter: needs a copy),
  // kSealed (at another length).
  Status Hold(Epoch epoch, uint64_t length);

  // The chunk's record says SEALED(length): bytes above are cut, none is ever added. The embedder
  // drains its writes, truncates, makes the seal durable, then answers. Repeats are Ok.
  // Errors: kFenced, kWrongOffset (shorter: needs a copy first), kSealed (at another length).
  Status Seal(Epoch epoch, uint64_t length);

  // How far a reader that knows nothing but this replica may see.
  uint64_t readable() const;

  ChunkId chunk() const { return chunk_; }
  Epoch epoch() const { return epoch_; }
  uint64_t accepted() const { return accepted_; }
  uint64_t held() const { return held_; }
  uint64_t synced() const { return synced_; }
  bool sealed() const { return sealed_; }
  bool restarted() const { return restarted_; }

 private:
  Status CheckEpoch(Epoch epoch) const;
  Result<AppendVerdict> Accept(uint64_t offset, uint64_t bytes, bool may_grow);

  ChunkId chunk_;
  Epoch epoch_;
  uint64_t accepted_ = 0;
  uint64_t held_ = 0;
  uint64_t synced_ = 0;
  uint64_t committed_ = 0;  // the highest that a writer told; not kept over a restart
  bool sealed_ = false;     // then accepted_ == held_ == the sealed length
  bool restarted_ = false;
  bool broken_ = false;  // a write failed
};

}  // namespace moraine::protocol
