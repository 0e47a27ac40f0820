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

struct Client::State {
  State(Loop& loop, const ClientOptions& options, MetricRegistry& metrics)
      : core(loop, options, metrics) {}
  ClientCore core;

  std::shared_ptr<FileImpl> FileOf(const Attributes& attributes) {
    std::shared_ptr<FileImpl>& file = core.files[attributes.inode];
    if (file == nullptr) file = std::make_shared<FileImpl>(core, attributes);
    return file;
  }
  Task<void> Tick();
  Task<void> StoreOld(std::shared_ptr<FileImpl> file);
  Task<void> Recall(std::shared_ptr<FileImpl> file);
  Task<void> Forget(std::shared_ptr<FileImpl> file);
  void OnRenewed(const idl::RenewSessionResponse& response);
};

}  // namespace moraine::fs
