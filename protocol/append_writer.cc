#include "protocol/append_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace moraine::protocol {

AppendWriter::AppendWriter(ChunkId chunk, Epoch epoch, const MadePolicy& policy,
                           uint64_t capacity_bytes)
    : chunk_(chunk),
      epoch_(epoch),
      policy_(policy),
      capacity_bytes_(capacity_bytes),
      live_(ReplicaSet::FirstN(policy.made)) {
  MORAINE_CHECK(policy.IsValid());
  MORAINE_CHECK(capacity_bytes >= 1 && capacity_bytes <= limits::kChunkBytesMax);
}

size_t AppendWriter::Index(int replica) const {
  MORAINE_CHECK(replica >= 0 && replica < policy_.made);
  return static_cast<size_t>(replica);
}

uint64_t AppendWriter::WthLargest(const Lengths& lengths) const {
  Lengths sorted = lengths;
  auto wth = sorted.begin() + (policy_.w - 1);
  std::nth_element(sorted.begin(), wth, sorted.begin() + policy_.made, std::greater<>());
  return *wth;
}

Result<AppendWriter::Submitted> AppendWriter::Submit(uint64_t bytes, bool sync) {
  if (bytes > limits::kAppendBytesMax) {
    return {Code::kTooLarge, fmt::format("an append of {} bytes", bytes)};
  }
  if (bytes == 0 && !sync && told_ == committed_) {
    return {Code::kInvalidArgument, "an append of nothing"};
  }
  if (fenced_) return {Code::kFenced, fmt::format("chunk {} has a new owner", chunk_.value())};
  if (closed_ || live_.Count() < policy_.w) {
    return {Code::kSealed, fmt::format("chunk {} takes no more appends", chunk_.value())};
  }
  if (bytes > remaining()) {
    full_ = true;
    return {Code::kSealed, fmt::format("chunk {} is full", chunk_.value())};
  }
  Ticket ticket{
      .sequence = next_sequence_++, .offset = submitted_, .end = submitted_ + bytes, .sync = sync};
  AppendHeader header{.epoch = epoch_,
                      .offset = ticket.offset,
                      .bytes = bytes,
                      .sync = sync,
                      .committed = committed_};
  submitted_ = ticket.end;
  told_ = committed_;
  full_ = full_ || submitted_ == capacity_bytes_;
  (sync ? waiting_sync_ : waiting_).push_back(ticket);
  return Submitted{.ticket = ticket, .header = header};
}

void AppendWriter::OnAck(int replica, uint64_t held, uint64_t synced) {
  size_t i = Index(replica);
  // A replica cannot hold what was never sent; a wrong peer must not make bytes count.
  held = std::min(held, submitted_);
  synced = std::min(synced, held);
  held_[i] = std::max(held_[i], held);
  synced_by_[i] = std::max(synced_by_[i], synced);
  // The closed length is what the metaserver records: nothing may be acknowledged beyond it.
  if (!closed_) committed_ = WthLargest(held_);
  synced_ = std::max(synced_, std::min(committed_, WthLargest(synced_by_)));
}

void AppendWriter::OnFailure(int replica, Code reason) {
  Index(replica);
  live_.Remove(replica);
  if (reason == Code::kFenced && !closed_) fenced_ = true;
}

void AppendWriter::OnSealed(uint64_t length, int durable) {
  MORAINE_CHECK(closed_);
  cut_ = length < committed_;
  if (!cut_ && durable >= policy_.floor) synced_ = committed_;
}

std::optional<AppendWriter::Ticket> AppendWriter::PopDone() {
  std::deque<Ticket>* queue = nullptr;
  if (!waiting_.empty() && waiting_.front().end <= committed_) {
    queue = &waiting_;
  } else if (!waiting_sync_.empty() && waiting_sync_.front().end <= synced_) {
    queue = &waiting_sync_;
  } else {
    return std::nullopt;
  }
  Ticket done = queue->front();
  queue->pop_front();
  return done;
}

Roll AppendWriter::roll() const {
  if (closed_ || fenced_) return Roll::kNone;
  if (full_ || live_.Count() < policy_.w) return Roll::kNow;
  return live_.Count() < policy_.made ? Roll::kSoon : Roll::kNone;
}

CloseRequest AppendWriter::Close() {
  closed_ = true;
  return CloseRequest{.epoch = epoch_, .length = committed_, .holders = holders()};
}

std::optional<AppendWriter::Ticket> AppendWriter::PopUnfinished() {
  MORAINE_CHECK(closed_);
  // Ends ascend in both queues, so what is not committed is at their backs; the first of it in
  // order of submission is looked for from the front.
  auto past = [this](const Ticket& ticket) { return ticket.end > committed_; };
  auto plain = std::find_if(waiting_.begin(), waiting_.end(), past);
  auto sync = std::find_if(waiting_sync_.begin(), waiting_sync_.end(), past);
  bool has_plain = plain != waiting_.end();
  bool has_sync = sync != waiting_sync_.end();
  if (!has_plain && !has_sync) return std::nullopt;
  bool take_sync = has_sync && (!has_plain || sync->sequence < plain->sequence);
  Ticket ticket = take_sync ? *sync : *plain;
  if (take_sync) {
    waiting_sync_.erase(sync);
  } else {
    waiting_.erase(plain);
  }
  return ticket;
}

ReplicaSet AppendWriter::holders() const {
  ReplicaSet set;
  for (int replica = 0; replica < policy_.made; ++replica) {
    if (held(replica) >= committed_) set.Add(replica);
  }
  return set;
}

uint64_t AppendWriter::releasable() const {
  uint64_t least = committed_;
  for (int replica = 0; replica < policy_.made; ++replica) {
    if (live_.Has(replica)) least = std::min(least, held(replica));
  }
  return least;
}

}  // namespace moraine::protocol
