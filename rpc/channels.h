// One Channel per server endpoint, made when first asked for and kept while it is used. Confined to
// one loop. Close and Drain before destruction.
#pragma once

#include <map>
#include <memory>

#include "rpc/client.h"

namespace moraine::rpc {

class Channels {
 public:
  Channels(Loop& loop, Identity self) : loop_(loop), self_(std::move(self)) {}

  // The channel to a chunkserver of known identity. The reference holds until Drain; a Channel is
  // never removed while it lives, so their number is bounded by the servers ever seen.
  Channel& To(const Endpoint& endpoint, ServerId server) {
    std::unique_ptr<Channel>& channel = channels_[{endpoint, server}];
    if (channel == nullptr) {
      channel = std::make_unique<Channel>(loop_, endpoint, self_,
                                          Expectation{idl::Role::kChunkserver, server});
      if (closed_) channel->Close();
    }
    return *channel;
  }
  void Close() {
    closed_ = true;
    for (auto& [key, channel] : channels_) channel->Close();
  }
  Task<void> Drain() {
    for (auto& [key, channel] : channels_) co_await channel->Drain();
  }

 private:
  Loop& loop_;
  const Identity self_;
  std::map<std::pair<Endpoint, ServerId>, std::unique_ptr<Channel>> channels_;
  bool closed_ = false;
};

}  // namespace moraine::rpc
