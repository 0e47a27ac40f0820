#include "protocol/policy.h"

#include <fmt/format.h>

#include <algorithm>

namespace moraine::protocol {

Status Policy::Validate() const {
  if (n < 1 || n > limits::kReplicasMax) {
    return {Code::kInvalidArgument,
            fmt::format("policy: n is {}, allowed are 1 to {}", n, limits::kReplicasMax)};
  }
  if (w < 1 || w > n) {
    return {Code::kInvalidArgument, fmt::format("policy: w is {}, allowed are 1 to n = {}", w, n)};
  }
  if (floor < 1 || floor > n) {
    return {Code::kInvalidArgument,
            fmt::format("policy: floor is {}, allowed are 1 to n = {}", floor, n)};
  }
  return Status::Ok();
}

Result<MadePolicy> Policy::ForMade(int made) const {
  MORAINE_RETURN_IF_ERROR(Validate());
  if (made > n) {
    return {Code::kInvalidArgument, fmt::format("{} replicas made, the policy has {}", made, n)};
  }
  if (made < floor) {
    return {
        Code::kTooFewServers,
        fmt::format("{} servers can take a replica, the policy needs at least {}", made, floor)};
  }
  return MadePolicy{.made = made, .w = std::min(w, made), .floor = floor};
}

}  // namespace moraine::protocol
