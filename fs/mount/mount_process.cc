#include "fs/mount/mount_process.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "fs/mount/mount_point.h"

namespace moraine::fs::mount {
namespace {

constexpr Duration kLastDrain = std::chrono::seconds(1);

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown host";
  return name.data();
}

FuseOptions FuseOptionsOf(const MountOptions& options) {
  FuseOptions fuse;
  fuse.mountpoint = options.mountpoint;
  fuse.source = options.metaserver;
  fuse.mount_flags = options.mount_flags;
  if (options.allow_other) fuse.mount_flags.push_back("allow_other");
  if (options.read_only) fuse.mount_flags.push_back("ro");
  fuse.read_ahead_bytes = options.read_ahead_bytes;
  fuse.dispatcher.entry_timeout = options.entry_timeout;
  fuse.dispatcher.directory_timeout = options.directory_timeout;
  fuse.dispatcher.attr_timeout = options.attr_timeout;
  fuse.dispatcher.listing_timeout = options.listing_timeout;
  return fuse;
}

}  // namespace

MountProcess::MountProcess(UringLoop& loop, MountOptions options, Descriptor signals,
                           Background& background)
    : loop_(loop),
      options_(std::move(options)),
      signals_(std::move(signals)),
      background_(background),
      metrics_(ProcessMetrics()),
      end_(loop) {}

MountProcess::~MountProcess() = default;

Task<void> MountProcess::Run() {
  loop_.Spawn(RunSignals());
  const Status started = co_await Start();
  background_.Report(started);
  if (started.ok()) {
    LogInfo("{} is mounted on {}", options_.metaserver, options_.mountpoint);
    co_await end_.Wait();
  } else if (!options_.process.log_file.empty()) {  // standard error has it from Report
    LogError("{}", started.ToString());
  }
  const Status stopped = co_await Stop();
  if (!stopped.ok()) LogError("at the end: {}", stopped.ToString());
  exit_code_ = started.ok() && stopped.ok() ? 0 : 1;
  if (started.ok()) LogInfo("{} is no longer mounted", options_.mountpoint);
  loop_.Stop();
}

Task<Status> MountProcess::Start() {
  // First, because an address that is taken is known at once.
  MORAINE_CO_RETURN_IF_ERROR(StartHttp());
  MORAINE_CO_ASSIGN_OR_RETURN(const Endpoint metaserver, ParseEndpoint(options_.metaserver));
  ClientOptions client;
  client.metaserver = metaserver;
  client.name = fmt::format("{}:{}", HostName(), options_.mountpoint);
  client.kind = "mount";
  client.timeout = options_.timeout;
  client.window_bytes = options_.window_bytes;
  client.dirty_bytes_max = options_.dirty_bytes;
  auto connecting = std::make_unique<Client>(loop_, client, metrics_);
  const Status connected = co_await connecting->Start();
  client_ = std::move(connecting);
  MORAINE_CO_RETURN_IF_ERROR(connected.Prefixed("metaserver " + options_.metaserver));
  co_return co_await StartSession();
}

Task<Status> MountProcess::StartSession() {
  file_system_ = std::make_unique<ClientFileSystem>(*client_);
  MORAINE_CO_ASSIGN_OR_RETURN(
      session_, FuseSession::Create(loop_, *file_system_, FuseOptionsOf(options_), metrics_));
  MORAINE_CO_RETURN_IF_ERROR(session_->Mount());
  loop_.Spawn(RunServe());
  const bool ready = co_await session_->WaitReady(loop_.After(options_.timeout));
  if (!ready) co_return Status(Code::kTimeout, "the kernel does not talk to the mount");
  Status read_ahead;
  co_await loop_.RunBlocking(
      [&] { read_ahead = SetReadAhead(options_.mountpoint, options_.read_ahead_bytes); });
  if (!read_ahead.ok()) LogWarning("read-ahead stays small: {}", read_ahead.ToString());
  co_return Status::Ok();
}

Status MountProcess::StartHttp() {
  if (options_.process.http.empty()) return Status::Ok();
  MORAINE_ASSIGN_OR_RETURN(const Endpoint listen, ParseEndpoint(options_.process.http, true));
  HttpStatusOptions http;
  http.listen = listen;
  http_ = std::make_unique<HttpStatusServer>(loop_, http);
  http_->ServeMetrics(metrics_);
  http_->ServeHealth([this] {
    const bool mounted = session_ != nullptr && session_->ready() && !session_->served();
    return mounted ? Status::Ok() : Status(Code::kUnavailable, "not mounted");
  });
  const Status started = http_->Start();
  if (!started.ok()) http_ = nullptr;
  return started.Prefixed("--http");
}

Task<void> MountProcess::RunServe() {
  const Status served = co_await session_->Serve();
  if (!served.ok()) LogError("{}: {}", options_.mountpoint, served.ToString());
  end_.Set();
}

Task<void> MountProcess::RunSignals() {
  while (true) {
    signalfd_siginfo info{};
    const Result<size_t> got =
        co_await loop_.ReadDescriptor(signals_.get(), std::as_writable_bytes(std::span(&info, 1)));
    if (!got.ok() || *got != sizeof info) co_return;
    if (info.ssi_signo == SIGHUP) {
      const Status reopened = ReopenLog();
      if (!reopened.ok()) LogWarning("{}", reopened.ToString());
      continue;
    }
    LogInfo("signal {}: stopping", info.ssi_signo);
    end_.Set();
  }
}

Task<Status> MountProcess::Stop() {
  Status first;
  if (session_ != nullptr) {
    const Status detached = co_await session_->Detach();
    if (!detached.ok()) LogWarning("{}", detached.ToString());
    if (detached.ok()) co_await session_->WaitServed(loop_.After(options_.process.stop_timeout));
    first = co_await session_->Stop(loop_.After(options_.timeout));
  }
  if (client_ != nullptr) {
    const Status stopped = co_await client_->Stop();
    if (first.ok()) first = stopped;
  }
  // What waited for the cluster has been canceled by now.
  if (session_ != nullptr) in_order_ = co_await session_->Drain(loop_.After(kLastDrain));
  if (http_ != nullptr) {
    http_->Close();
    co_await http_->Drain();
  }
  co_return first;
}

}  // namespace moraine::fs::mount
