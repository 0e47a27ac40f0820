#include "protocol/seal.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"

namespace moraine::protocol {

using Kind = SealRequest::Kind;

SealProcedure::SealProcedure(ChunkId chunk, const ChunkRecord& record)
    : chunk_(chunk),
      epoch_(record.epoch),
      policy_(record.policy),
      length_max_(record.length),
      settling_(record.state == ChunkState::kClosed) {
  MORAINE_CHECK(policy_.IsValid());
  MORAINE_CHECK(settling_ || record.state == ChunkState::kFencing);
  if (!settling_) {
    for (int i = 0; i < policy_.made; ++i)
      requests_.push_back({.kind = Kind::kFence, .replica = i});
    return;
  }
  // Who holds the length is only the writer's word until each has promised it. The others are asked
  // too: their answer says how much to copy.
  for (int i = 0; i < policy_.made; ++i) replicas_[i].state = State::kAnswered;
  length_ = length_max_;
  phase_ = Phase::kHolding;
  for (int i = 0; i < policy_.made; ++i) AskHold(i);
}

int SealProcedure::Count(State state) const {
  return static_cast<int>(
      std::count_if(replicas_.begin(), replicas_.begin() + policy_.made,
                    [state](const Replica& replica) { return replica.state == state; }));
}

int SealProcedure::Usable() const {
  return policy_.made - Count(State::kGone) - Count(State::kSilent);
}

int SealProcedure::Needed() const { return std::min(policy_.w, Usable()); }

ReplicaSet SealProcedure::good() const {
  ReplicaSet set;
  for (int i = 0; i < policy_.made; ++i) {
    if (replicas_[i].state == State::kHeld) set.Add(i);
  }
  return set;
}

std::vector<SealRequest> SealProcedure::TakeRequests() { return std::exchange(requests_, {}); }

std::vector<SealRequest> SealProcedure::Outstanding() const {
  std::vector<SealRequest> waiting;
  if (phase_ == Phase::kRecording) {
    waiting.push_back({.kind = Kind::kRecord, .length = length_});
    return waiting;
  }
  for (int i = 0; i < policy_.made; ++i) {
    const Replica& replica = replicas_[i];
    if (phase_ == Phase::kFencing && replica.state == State::kSilent) {
      waiting.push_back({.kind = Kind::kFence, .replica = i});
    } else if (phase_ == Phase::kHolding && replica.state == State::kHoldAsked) {
      waiting.push_back({.kind = Kind::kHold, .replica = i, .length = length_});
    } else if (phase_ == Phase::kHolding && replica.state == State::kCopying) {
      waiting.push_back({.kind = Kind::kCopy,
                         .replica = i,
                         .source = replica.source,
                         .from = replica.answer.length,
                         .length = length_});
    }
  }
  return waiting;
}

void SealProcedure::OnFenceAnswer(int replica, const FenceAnswer& answer) {
  if (phase_ != Phase::kFencing) return;
  Replica& known = replicas_.at(replica);
  if (known.state == State::kAnswered) {
    // Two answers of one replica differ only if it restarted between them. The fence held over the
    // restart, so the answer from after it is the one to believe.
    if (answer.restarted && !known.answer.restarted) known.answer = answer;
    return;
  }
  known.state = State::kAnswered;
  known.answer = answer;
  TryDecide(/*last_resort_allowed=*/false);
}

void SealProcedure::OnFailed(int replica) {
  Replica& known = replicas_.at(replica);
  if (phase_ == Phase::kFencing || (phase_ == Phase::kHolding && known.state != State::kHeld)) {
    known.state = State::kGone;
    if (phase_ == Phase::kFencing) TryDecide(/*last_resort_allowed=*/false);
    Advance();
  }
}

void SealProcedure::OnUnknown(int replica) {
  unknown_.Add(replica);
  OnFailed(replica);
  if (phase_ == Phase::kFencing && unknown_ == ReplicaSet::FirstN(policy_.made)) {
    length_ = 0;
    phase_ = Phase::kRecording;
    requests_.push_back({.kind = Kind::kRecord, .length = 0});
  }
}

void SealProcedure::OnFenceDeadline() {
  if (phase_ != Phase::kFencing) return;
  deadline_over_ = true;
  TryDecide(/*last_resort_allowed=*/false);
}

void SealProcedure::OnPatienceOver() {
  if (phase_ == Phase::kFencing) {
    TryDecide(/*last_resort_allowed=*/true);
    if (phase_ == Phase::kFencing) phase_ = Phase::kFailed;
    return;
  }
  if (phase_ != Phase::kHolding) return;
  for (int i = 0; i < policy_.made; ++i) {
    State& state = replicas_[i].state;
    if (state == State::kHoldAsked || state == State::kCopying) state = State::kGone;
  }
  Advance();
}

// Decides at once when nothing better can come, or is waited for no longer.
void SealProcedure::TryDecide(bool last_resort_allowed) {
  bool all_answered = Count(State::kAnswered) == policy_.made;
  if (Count(State::kSilent) == 0 || deadline_over_ || last_resort_allowed) {
    DecideFrom(/*unrestarted_only=*/true);
  }
  if (phase_ == Phase::kFencing && (all_answered || last_resort_allowed)) {
    DecideFrom(/*unrestarted_only=*/false);
  }
}

void SealProcedure::DecideFrom(bool unrestarted_only) {
  std::array<uint64_t, limits::kReplicasMax> lengths{};
  int answers = 0;
  for (int i = 0; i < policy_.made; ++i) {
    const Replica& replica = replicas_[i];
    if (replica.state != State::kAnswered) continue;
    if (unrestarted_only && replica.answer.restarted) continue;
    lengths[answers++] = replica.answer.length;
  }
  if (answers < policy_.f()) return;
  // Of these answers at most LackMax() lack an acknowledged byte, so the rank-th largest length has
  // them all, and no longer length must be kept.
  int rank = answers - policy_.LackMax();
  MORAINE_CHECK(rank >= 1);
  std::nth_element(lengths.begin(), lengths.begin() + (rank - 1), lengths.begin() + answers,
                   std::greater<>());
  last_resort_ = !unrestarted_only;
  Decide(std::min(lengths[rank - 1], length_max_));
}

void SealProcedure::Decide(uint64_t length) {
  length_ = length;
  phase_ = Phase::kHolding;
  for (int i = 0; i < policy_.made; ++i) {
    Replica& replica = replicas_[i];
    if (replica.state == State::kSilent) {
      replica.state = State::kGone;
    } else if (replica.state == State::kAnswered) {
      if (replica.answer.length >= length_) {
        AskHold(i);
      } else {
        replica.state = State::kShort;
      }
    }
  }
  Advance();
}

void SealProcedure::AskHold(int replica) {
  replicas_[replica].state = State::kHoldAsked;
  requests_.push_back({.kind = Kind::kHold, .replica = replica, .length = length_});
}

void SealProcedure::OnHeld(int replica) {
  Replica& known = replicas_.at(replica);
  if (phase_ != Phase::kHolding) return;
  // Also from one that was given up: the promise is on its disk.
  known.state = State::kHeld;
  Advance();
}

void SealProcedure::OnShort(int replica, uint64_t held) {
  Replica& known = replicas_.at(replica);
  if (phase_ != Phase::kHolding || known.state != State::kHoldAsked) return;
  known.state = State::kShort;
  known.answer.length = std::min(held, length_);
  Advance();
}

void SealProcedure::OnCopied(int replica) {
  if (phase_ != Phase::kHolding || replicas_.at(replica).state != State::kCopying) return;
  AskHold(replica);
}

// Copies come only from a replica that has promised the length: it cannot lose it any more.
void SealProcedure::StartCopies() {
  ReplicaSet sources = good();
  if (sources.Empty()) return;
  int source = 0;
  while (!sources.Has(source)) ++source;
  int coming = sources.Count() + Count(State::kHoldAsked) + Count(State::kCopying);
  for (int i = 0; i < policy_.made && coming < Needed(); ++i) {
    Replica& replica = replicas_[i];
    if (replica.state != State::kShort) continue;
    replica.state = State::kCopying;
    replica.source = source;
    ++coming;
    requests_.push_back({.kind = Kind::kCopy,
                         .replica = i,
                         .source = source,
                         .from = replica.answer.length,
                         .length = length_});
  }
}

void SealProcedure::Advance() {
  if (phase_ != Phase::kHolding) return;
  if (Usable() < policy_.f()) {
    phase_ = Phase::kFailed;
    return;
  }
  if (Count(State::kHeld) >= Needed()) {
    phase_ = Phase::kRecording;
    requests_.push_back({.kind = Kind::kRecord, .length = length_});
    return;
  }
  StartCopies();
  if (Count(State::kHeld) + Count(State::kHoldAsked) + Count(State::kCopying) == 0) {
    phase_ = Phase::kFailed;  // everyone who had the length has lost it since
  }
}

void SealProcedure::OnRecorded() {
  if (phase_ != Phase::kRecording) return;
  phase_ = Phase::kSealed;
  for (int i = 0; i < policy_.made; ++i) {
    requests_.push_back({.kind = Kind::kSeal, .replica = i, .length = length_});
  }
}

}  // namespace moraine::protocol
