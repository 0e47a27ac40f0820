// Sealing a chunk from the metaserver (APPEND.md section 6), without I/O: find the length, bring
// enough replicas to it, on disk, then let the record be written.
//
// One SealProcedure is one attempt, begun from a record that is durable: FENCING (the writer is
// gone; replicas are fenced and asked) or CLOSED (the writer left at a length it knew; nothing is
// fenced or decided, only settled). It owns nothing but its own progress, so it may be dropped at
// any time; another attempt starts from BeginFencing with a higher epoch. Not thread-safe.
//
// The embedder sends what TakeRequests returns, reports what comes back, and writes the record when
// asked. It owns two timers: OnFenceDeadline (short, after the first f answers may have come) and
// OnPatienceOver (long: those that are silent now are taken for dead). At kFailed it starts again
// with a higher epoch, after a while, for as long as it takes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "protocol/append_replica.h"
#include "protocol/chunk_record.h"
#include "protocol/replica_set.h"

namespace moraine::protocol {

struct SealRequest {
  enum class Kind {
    kFence,   // to `replica`: Fence(epoch)                  -> OnFenceAnswer
    kHold,    // to `replica`: Hold(epoch, length)           -> OnHeld or OnShort
    kCopy,    // `source` gives [from, length) to `replica`  -> OnCopied
    kRecord,  // write RecordSealed(epoch, length, good())   -> OnRecorded
    kSeal,    // to `replica`: Seal(epoch, length); nobody waits: what stays open is told again when
              // its server reports it
  };
  Kind kind = Kind::kFence;
  int replica = 0;
  int source = 0;
  uint64_t from = 0;
  uint64_t length = 0;
};

class SealProcedure {
 public:
  enum class Phase {
    kFencing,
    kHolding,
    kRecording,
    kSealed,
    kFailed,  // too few replicas are left, or nobody holds the length any more: start again
  };

  // `record` is durable and FENCING or CLOSED.
  SealProcedure(ChunkId chunk, const ChunkRecord& record);

  // New requests since the last call, in order.
  std::vector<SealRequest> TakeRequests();
  // Everything that is still waited for, to be sent again after a loss.
  std::vector<SealRequest> Outstanding() const;

  // Answers. Those that come twice, late or out of turn change nothing.
  void OnFenceAnswer(int replica, const FenceAnswer& answer);
  void OnHeld(int replica);
  void OnShort(int replica, uint64_t held);
  void OnCopied(int replica);
  // The server answered, and has no such replica, or has a sealed or fenced one that it should not
  // have, or its disk fails: it counts as dead for this attempt. Also for a server that is known to
  // be down for good.
  void OnFailed(int replica);
  // The server answered that it never heard of the chunk. Counts as dead, but when all say so the
  // chunk was never created and is sealed empty.
  void OnUnknown(int replica);
  // From now on f answers without a restart decide, those that are here or the next ones to come.
  void OnFenceDeadline();
  void OnPatienceOver();
  void OnRecorded();

  Phase phase() const { return phase_; }
  Epoch epoch() const { return epoch_; }
  ChunkId chunk() const { return chunk_; }
  // From kHolding on.
  uint64_t length() const { return length_; }
  ReplicaSet good() const;
  // True if fewer than f replicas without a restart answered, so that restarted ones had to be
  // believed: bytes that were acknowledged but never synced may have been cut. Worth a warning.
  bool last_resort() const { return last_resort_; }

 private:
  enum class State : uint8_t {
    kSilent,    // asked to fence, no answer yet
    kAnswered,  // fenced; nothing asked since
    kHoldAsked,
    kShort,  // lacks bytes, no copy under way
    kCopying,
    kHeld,  // has length_ on disk, by its own promise
    kGone,
  };
  struct Replica {
    State state = State::kSilent;
    FenceAnswer answer;  // while kFencing; later only `length` is kept up
    int source = 0;      // of the copy under way
  };

  int Count(State state) const;
  int Usable() const;  // replicas that answer
  int Needed() const;  // replicas that must hold before the record
  void DecideFrom(bool unrestarted_only);
  void TryDecide(bool last_resort_allowed);
  void Decide(uint64_t length);
  void AskHold(int replica);
  void StartCopies();
  void Advance();

  const ChunkId chunk_;
  const Epoch epoch_;
  const MadePolicy policy_;
  const uint64_t length_max_;
  const bool settling_;

  Phase phase_ = Phase::kFencing;
  uint64_t length_ = 0;
  bool deadline_over_ = false;
  bool last_resort_ = false;
  ReplicaSet unknown_;
  std::array<Replica, limits::kReplicasMax> replicas_{};
  std::vector<SealRequest> requests_;
};

}  // namespace moraine::protocol
