// The writer's side of the append protocol for one chunk (APPEND.md section 3), without I/O.
//
// Owns the counting: which replica holds how much, what is committed and synced, which callers are
// done, when to go on in a new chunk. The embedder owns the bytes and the connections: it sends
// what Submit returns to every live replica, in order, and reports what comes back. Not
// thread-safe: used under the stream's own lock or by its loop. No call allocates per replica.
//
// A life: Submit .. Submit, OnAck .. OnAck, PopDone .. PopDone; roll() says when it is time; Close
// freezes committed() for the metaserver's close call, and Unfinished() is what goes to the next
// chunk. Acknowledgements that come after Close can still finish syncs, never commit more.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "protocol/append_replica.h"
#include "protocol/chunk_record.h"
#include "protocol/policy.h"
#include "protocol/replica_set.h"

namespace moraine::protocol {

enum class Roll {
  kNone,
  kSoon,  // redundancy is below the policy, but w others answer: roll when it costs nobody a wait
  kNow,   // full, or fewer than w replicas are left: nothing more can commit here
};

class AppendWriter {
 public:
  // One caller's append. It is done when [offset, end) is committed, with `sync` when it is synced.
  struct Ticket {
    uint64_t sequence = 0;  // 1, 2, 3 .. in order of Submit
    uint64_t offset = 0;
    uint64_t end = 0;
    bool sync = false;
  };
  struct Submitted {
    Ticket ticket;
    AppendHeader header;  // to be sent to all of live(), with the bytes
  };

  AppendWriter(ChunkId chunk, Epoch epoch, const MadePolicy& policy,
               uint64_t capacity_bytes = limits::kChunkBytesMax);

  // Takes an append of `bytes` at submitted(). Zero bytes are allowed with `sync`, and while told()
  // is below committed(): then the append only says how far the chunk is committed.
  // Errors: kTooLarge (over limits::kAppendBytesMax), kSealed (no room, or closed, or fewer than w
  // replicas are left: roll), kFenced (another owner has taken over: give up).
  Result<Submitted> Submit(uint64_t bytes, bool sync);

  // A replica says how much it holds and has on disk. Repeats and late answers do no harm, nor do
  // answers from a replica that was given up: what they say was true.
  void OnAck(int replica, uint64_t held, uint64_t synced);

  // A replica is given up: connection lost, too slow, or it refused. kFenced ends this writer, but
  // not after Close: then the answer to the close call says whose the chunk was.
  void OnFailure(int replica, Code reason);

  // Only after Close: the chunk's record is SEALED(length) and `durable` replicas have that on
  // disk. Finishes syncs even where fewer than w replicas are left, as long as there are
  // policy.floor (the rest is repair's work). A length below committed() means that more machines
  // failed than the policy bears: see cut().
  void OnSealed(uint64_t length, int durable);

  // The next caller that is done, or nothing. Those without sync come in order, as do those with.
  std::optional<Ticket> PopDone();

  Roll roll() const;

  // Freezes committed() and stops Submit. What the metaserver needs to close the chunk; it is the
  // same at each call.
  CloseRequest Close();

  // After Close: the next caller whose bytes are not all committed here. Its bytes from
  // max(offset, committed()) on go to the next chunk. In order of submission.
  std::optional<Ticket> PopUnfinished();

  uint64_t committed() const { return committed_; }
  // The committed length in the last header: what the replicas know, or will.
  uint64_t told() const { return told_; }
  uint64_t synced() const { return synced_; }
  uint64_t submitted() const { return submitted_; }
  uint64_t remaining() const { return capacity_bytes_ - submitted_; }
  uint64_t held(int replica) const { return held_[Index(replica)]; }
  uint64_t synced(int replica) const { return synced_by_[Index(replica)]; }
  ReplicaSet live() const { return live_; }
  // Replicas known to hold everything committed.
  ReplicaSet holders() const;
  // Bytes below this are with every live replica and committed: their buffers may be released.
  uint64_t releasable() const;
  bool fenced() const { return fenced_; }
  bool closed() const { return closed_; }
  // Committed bytes that were never synced are lost: callers that still wait get an error.
  bool cut() const { return cut_; }
  bool has_waiting() const { return !waiting_.empty() || !waiting_sync_.empty(); }

  ChunkId chunk() const { return chunk_; }
  Epoch epoch() const { return epoch_; }
  const MadePolicy& policy() const { return policy_; }

 private:
  using Lengths = std::array<uint64_t, limits::kReplicasMax>;

  size_t Index(int replica) const;
  uint64_t WthLargest(const Lengths& lengths) const;

  // Constant after construction.
  const ChunkId chunk_;
  const Epoch epoch_;
  const MadePolicy policy_;
  const uint64_t capacity_bytes_;

  Lengths held_{};
  Lengths synced_by_{};
  ReplicaSet live_;
  uint64_t submitted_ = 0;
  uint64_t committed_ = 0;
  uint64_t told_ = 0;
  uint64_t synced_ = 0;
  uint64_t next_sequence_ = 1;
  std::deque<Ticket> waiting_;       // without sync, ends ascending
  std::deque<Ticket> waiting_sync_;  // with sync, ends ascending
  bool full_ = false;
  bool fenced_ = false;
  bool closed_ = false;
  bool cut_ = false;
};

}  // namespace moraine::protocol
