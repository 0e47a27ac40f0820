#include "tools/metaserver_link.h"

namespace moraine::tools {

Result<std::unique_ptr<MetaserverLink>> MetaserverLink::Create(Endpoint metaserver,
                                                               Duration timeout) {
  Result<std::unique_ptr<UringLoop>> loop = UringLoop::Create();
  if (!loop.ok()) return loop.status();
  return std::unique_ptr<MetaserverLink>(
      new MetaserverLink(std::move(*loop), std::move(metaserver), timeout));
}

MetaserverLink::MetaserverLink(std::unique_ptr<UringLoop> loop, Endpoint metaserver,
                               Duration timeout)
    : loop_(std::move(loop)),
      timeout_(timeout),
      channel_(std::make_unique<rpc::Channel>(
          *loop_, std::move(metaserver), rpc::Identity{idl::Role::kTool, "", "moraine", ServerId()},
          rpc::Expectation{idl::Role::kMetaserver, ServerId()})) {}

MetaserverLink::~MetaserverLink() {
  channel_->Close();
  bool drained = false;
  const auto drain = [](rpc::Channel* channel, bool* done) -> Task<void> {
    co_await channel->Drain();
    *done = true;
  };
  loop_->Spawn(drain(channel_.get(), &drained));
  loop_->RunUntil([&] { return drained; });
}

}  // namespace moraine::tools
