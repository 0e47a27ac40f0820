// Everything that can be set about a metaserver; main/main.cc says how.
#pragma once

#include "base/loop/net.h"
#include "metaserver/cluster/registry.h"
#include "metaserver/recovery/caretaker.h"
#include "metaserver/recovery/sealer.h"
#include "metaserver/store/store.h"

namespace moraine::metaserver {

struct MetaserverOptions {
  StoreOptions store;
  Endpoint listen{"127.0.0.1", 7440};
  std::string cluster;  // not empty: refuse a directory of another
  // Free space of its own disk below which nothing new is made; what frees space, or ends what was
  // begun, may take the rest.
  uint64_t reserve_bytes = 256 << 20;
  Duration session_ttl = std::chrono::seconds(10);
  // A renewal is answered when there is news, or after this long.
  Duration renewal_hold = std::chrono::seconds(1);
  // How long a call waits for the recovery of a file before it says kLeaseTaken.
  Duration recovery_wait = std::chrono::seconds(5);
  Duration session_tick = std::chrono::milliseconds(200);
  size_t suspects_max = 256;  // replicas that clients complain of, checked at a time
  RegistryOptions registry;
  SealerOptions sealer;
  CaretakerOptions caretaker;
};

}  // namespace moraine::metaserver
