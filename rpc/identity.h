// Who stands at the two ends of a connection, as told in the handshake.
#pragma once

#include <string>

#include "base/ids.h"
#include "idl/common_types.h"

namespace moraine::rpc {

struct Identity {
  idl::Role::type role = idl::Role::kClient;
  std::string cluster;  // empty: not known yet
  std::string name;     // for logs
  ServerId server;      // of a chunkserver
};

// What a client insists on.
struct Expectation {
  idl::Role::type role = idl::Role::kMetaserver;
  ServerId server;  // none: any
};

// Whether two clusters may talk: equal, or one side does not know its own yet.
bool ClustersAgree(const std::string& a, const std::string& b);

}  // namespace moraine::rpc
