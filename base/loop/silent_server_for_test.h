// A port of this machine that answers nobody: its backlog is full, so the kernel drops every
// further SYN and a connect hangs until its deadline.
#pragma once

#include <vector>

#include "base/loop/socket.h"

namespace moraine {

class SilentServerForTest {
 public:
  SilentServerForTest() {
    const SocketAddress any = *AddressWithoutLookup({"127.0.0.1", 0});
    listener_ = std::move(*MakeStreamSocket(any, false));
    MORAINE_CHECK(bind(listener_.get(), any.get(), any.length) == 0);
    MORAINE_CHECK(listen(listener_.get(), 0) == 0);
    const SocketAddress address = *AddressWithoutLookup(endpoint());
    constexpr int kFillers = 4;  // more than a backlog of 0 lets in
    for (int i = 0; i < kFillers; ++i) {
      fillers_.push_back(std::move(*MakeStreamSocket(address, true)));
      const int error = connect(fillers_.back().get(), address.get(), address.length);
      MORAINE_CHECK(error == 0 || errno == EINPROGRESS);
    }
  }
  Endpoint endpoint() const { return LocalEndpoint(listener_.get()); }

 private:
  Descriptor listener_;
  std::vector<Descriptor> fillers_;
};

}  // namespace moraine
