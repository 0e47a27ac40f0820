// A chunkserver for tests that answers appends and keeps nothing.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/loop/sim/world.h"
#include "base/metrics.h"
#include "fs/chunkio/chunk.h"
#include "idl/methods.h"
#include "rpc/server.h"

namespace moraine::fs {

class FakeHolder : public sim::Process {
 public:
  // What is answered to an append of so many bytes.
  using Append =
      std::function<Result<idl::AppendResponse>(const idl::AppendRequest& request, int64_t bytes)>;

  FakeHolder(sim::SimLoop& loop, const std::string& name, ServerId id, Append append)
      : append_(std::move(append)),
        server_(loop, {idl::Role::kChunkserver, "", name, id}, OptionsOf(name), metrics_) {
    server_.Handle(idl::kAppend,
                   [this](rpc::CallContext& context,
                          idl::AppendRequest request) -> Task<Result<idl::AppendResponse>> {
                     co_return append_(request, static_cast<int64_t>(context.bulk_in.size()));
                   });
    const Status started = server_.Start();
    MORAINE_CHECK(started.ok(), started.ToString());
  }

  // Machines cs1, cs2 and so on, each with one.
  static std::vector<ReplicaPlace> StartAll(sim::World& world, size_t count, const Append& append) {
    std::vector<ReplicaPlace> replicas;
    for (size_t i = 1; i <= count; ++i) {
      const std::string name = fmt::format("cs{}", i);
      const ServerId id(i);
      world.AddMachine(name).Start(
          [=](sim::SimLoop& loop) { return std::make_unique<FakeHolder>(loop, name, id, append); });
      replicas.push_back({id, OptionsOf(name).listen});
    }
    return replicas;
  }

 private:
  static rpc::ServerOptions OptionsOf(const std::string& name) {
    rpc::ServerOptions options;
    options.listen = Endpoint{name, 7420};
    return options;
  }

  const Append append_;
  MetricRegistry metrics_;
  rpc::Server server_;
};

}  // namespace moraine::fs
