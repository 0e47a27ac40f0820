#include "fs/chunkio/visible_length.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace moraine::fs {

// What w replicas hold is committed, whether or not its writer has heard of it. And an acknowledged
// byte is on at least r - (n - w) of r replicas that lost nothing: where that allows more, some
// holder is silent, and only its answer, or the writer's move to another chunk, can tell.
std::optional<VisibleBytes> VisibleFrom(std::span<const ReplicaAnswer> answers,
                                        const protocol::MadePolicy& policy) {
  std::vector<uint64_t> held;
  std::vector<uint64_t> kept;  // of those that did not restart
  uint64_t certain = 0;
  for (const ReplicaAnswer& answer : answers) {
    if (answer.damaged) continue;
    if (answer.sealed) return VisibleBytes{answer.held, true};
    held.push_back(answer.held);
    if (!answer.restarted) kept.push_back(answer.held);
    certain = std::max(certain, answer.committed);
  }
  // When everybody has answered there is nobody else to ask: what restarts lost is lost.
  if (held.size() == static_cast<size_t>(policy.made)) kept = held;
  std::sort(held.begin(), held.end(), std::greater<>());
  std::sort(kept.begin(), kept.end(), std::greater<>());
  const auto w = static_cast<size_t>(policy.w);
  const auto lack = static_cast<size_t>(policy.LackMax());
  if (held.size() >= w) certain = std::max(certain, held[w - 1]);
  if (kept.size() <= lack || certain < kept[kept.size() - lack - 1]) return std::nullopt;
  return VisibleBytes{certain, false};
}

}  // namespace moraine::fs
