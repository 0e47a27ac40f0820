// What stands behind a Client. Internal to fs/client; shared by client.cc (session, files,
// ownership) and client_names.cc (names, attributes, extended attributes).
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "fs/client/client.h"
#include "fs/client/core.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {

// From the last close of a file until its lease goes back.
inline constexpr Duration kIdleTime = std::chrono::milliseconds(10);
// While the last close of a file is on its way.
inline constexpr Duration kClosingPause = std::chrono::milliseconds(1);

// Calls under way, so that somebody can wait for those that were there before.
class CallsUnderWay {
 public:
  explicit CallsUnderWay(Loop& loop) : changed_(loop) {}
  class Call {
   public:
    explicit Call(CallsUnderWay& all) : all_(all), number_(all.next_++) {
      all_.numbers_.insert(number_);
    }
    ~Call() {
      all_.numbers_.erase(number_);
      all_.changed_.NotifyAll();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    CallsUnderWay& all_;
    const uint64_t number_;
  };
  Task<void> AwaitOlder(Instant deadline) {
    const uint64_t end = next_;
    while (!numbers_.empty() && *numbers_.begin() < end) {
      const bool woken = co_await changed_.Wait(deadline);
      if (!woken) co_return;
    }
  }

 private:
  uint64_t next_ = 0;
  std::set<uint64_t> numbers_;
  Condition changed_;
};

struct Client::State {
  State(Loop& loop, const ClientOptions& options, MetricRegistry& metrics)
      : core(loop, options, metrics), creates(loop) {}
  ClientCore core;
  CallsUnderWay creates;  // of files with a lease
  // Files without handles keep their lease and registration for kIdleTime: many are closed with one
  // call then, and who opens one again has it.
  std::vector<std::shared_ptr<FileImpl>> idle;
  bool ending_idle = false;  // EndIdle runs

  // The one File of an inode, made when there is none; not while the last close of the former one
  // is on its way: that is waited for. Nothing suspends between the answer and its use.
  Task<Result<std::shared_ptr<FileImpl>>> FileOf(Attributes attributes, Instant deadline);
  // After a handle or an opening has gone: if it was the last one, the file is closed soon, or at
  // once if there is an error that nobody should meet who opens it anew.
  void EndIfUnused(const std::shared_ptr<FileImpl>& file);
  Task<void> EndIdle();
  Task<void> Tick();
  Task<void> StoreOld(std::shared_ptr<FileImpl> file);
  Task<Status> EndAll(Instant deadline);
  Task<void> Recall(InodeId inode);
  Task<void> Forget(std::vector<std::shared_ptr<FileImpl>> files);
  void OnRenewed(const idl::RenewSessionResponse& response);
};

}  // namespace moraine::fs
