// The life of the program moraine-mount, after its options: connect, mount, serve until the file
// system is unmounted or a signal asks for the end, flush, unmount.
//
// SIGTERM and SIGINT: the mount leaves the tree at once, programs get `stop_timeout` to close their
// files, then everything is flushed. SIGHUP: the log file is opened again. Confined to its loop.
#pragma once

#include <memory>
#include <optional>

#include "base/http_status.h"
#include "base/loop/descriptor.h"
#include "base/loop/uring_loop.h"
#include "base/metrics.h"
#include "fs/client/client.h"
#include "fs/mount/background.h"
#include "fs/mount/client_file_system.h"
#include "fs/mount/fuse_session.h"
#include "fs/mount/mount_options.h"

namespace moraine::fs::mount {

class MountProcess {
 public:
  // `options.mountpoint` is absolute; `signals` is a signalfd.
  MountProcess(UringLoop& loop, MountOptions options, Descriptor signals, Background& background);
  ~MountProcess();

  // Ends with a stopped loop.
  Task<void> Run();
  int exit_code() const { return exit_code_; }
  // Whether nothing is under way any more. If not, this cannot be destroyed in order.
  bool stopped_in_order() const { return in_order_; }

 private:
  Task<Status> Start();
  Task<Status> StartSession();
  Status StartHttp();
  Task<void> RunServe();
  Task<void> RunSignals();
  Task<Status> Stop();

  UringLoop& loop_;
  const MountOptions options_;
  const Descriptor signals_;
  Background& background_;

  MetricRegistry& metrics_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ClientFileSystem> file_system_;
  std::unique_ptr<FuseSession> session_;
  std::unique_ptr<HttpStatusServer> http_;
  Event end_;  // asked for by a signal, or unmounted
  int exit_code_ = 0;
  bool in_order_ = true;
};

}  // namespace moraine::fs::mount
