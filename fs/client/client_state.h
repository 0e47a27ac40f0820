// What stands behind a Client. Internal to fs/client; shared by client.cc (session, files,
// ownership) and client_names.cc (names, attributes, extended attributes).
#pragma once

#include <memory>

#include "fs/client/client.h"
#include "fs/client/core.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {

// Between two attempts to get a lease that another session is asked to give back.
inline constexpr Duration kLeasePause = std::chrono::milliseconds(20);
// While the last close of a file is on its way.
inline constexpr Duration kClosingPause = std::chrono::milliseconds(1);

struct Client::State {
  State(Loop& loop, const ClientOptions& options, MetricRegistry& metrics)
      : core(loop, options, metrics) {}
  ClientCore core;

  // The one File of an inode, made when there is none; not while the last close of the former one
  // is on its way: that is waited for. Nothing suspends between the answer and its use.
  Task<Result<std::shared_ptr<FileImpl>>> FileOf(Attributes attributes, Instant deadline);
  // After a handle or an opening has gone: if it was the last one, the end begins.
  void EndIfUnused(const std::shared_ptr<FileImpl>& file);
  Task<void> Tick();
  Task<void> StoreOld(std::shared_ptr<FileImpl> file);
  Task<Status> GiveBackAll(Instant deadline);
  Task<void> Recall(std::shared_ptr<FileImpl> file);
  Task<void> Forget(std::shared_ptr<FileImpl> file);
  void OnRenewed(const idl::RenewSessionResponse& response);
};

}  // namespace moraine::fs
