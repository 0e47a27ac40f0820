// A tool's line to a metaserver: blocking calls on a loop of its own. Not thread-safe.
#pragma once

#include <memory>
#include <optional>

#include "base/loop/uring_loop.h"
#include "idl/methods.h"
#include "rpc/client.h"

namespace moraine::tools {

class MetaserverLink {
 public:
  // Nothing is sent yet. kNotSupported: no io_uring here.
  static Result<std::unique_ptr<MetaserverLink>> Create(Endpoint metaserver, Duration timeout);
  ~MetaserverLink();

  // Errors: the metaserver's, or kUnavailable and kTimeout with its address.
  template <class Request, class Response>
  Result<Response> Ask(idl::Method<Request, Response> method, Request request) {
    std::optional<Result<Response>> answer;
    loop_->Spawn(AskInto(this, method, std::move(request), &answer));
    loop_->RunUntil([&] { return answer.has_value(); });
    return std::move(*answer);
  }

  const Endpoint& endpoint() const { return channel_->endpoint(); }

 private:
  MetaserverLink(std::unique_ptr<UringLoop> loop, Endpoint metaserver, Duration timeout);
  template <class Request, class Response>
  static Task<void> AskInto(MetaserverLink* self, idl::Method<Request, Response> method,
                            Request request, std::optional<Result<Response>>* answer) {
    rpc::CallOptions options;
    options.deadline = self->loop_->After(self->timeout_);
    auto result = co_await self->channel_->Ask(method, std::move(request), std::move(options));
    const bool silent = result.code() == Code::kUnavailable || result.code() == Code::kTimeout;
    if (!silent) {
      answer->emplace(std::move(result));
    } else {
      answer->emplace(result.status().Prefixed("the metaserver " + self->endpoint().ToString() +
                                               " does not answer"));
    }
  }

  std::unique_ptr<UringLoop> loop_;
  const Duration timeout_;
  std::unique_ptr<rpc::Channel> channel_;
};

}  // namespace moraine::tools
