// How far the bytes of an open chunk may be read, from what its replicas answer (APPEND.md sections
// 2 and 7). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "protocol/policy.h"

namespace moraine::fs {

struct ReplicaAnswer {
  uint64_t held = 0;
  uint64_t committed = 0;  // as the writer told it
  bool sealed = false;
  bool restarted = false;  // it may have lost bytes that it had acknowledged
  bool damaged = false;    // believed in nothing
};

struct VisibleBytes {
  uint64_t length = 0;
  bool sealed = false;
};

// Nothing: the answers so far do not tell. More answers never make a length that was told smaller.
std::optional<VisibleBytes> VisibleFrom(std::span<const ReplicaAnswer> answers,
                                        const protocol::MadePolicy& policy);

}  // namespace moraine::fs
