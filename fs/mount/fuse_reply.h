// From our values to libfuse's, and the running of one request from its coroutine to its answer.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>

#include <memory>
#include <string>
#include <utility>

#include "fs/mount/errno_map.h"
#include "fs/mount/fuse_session.h"

namespace moraine::fs::mount {

struct stat ToStat(const Attributes& attributes, uint64_t io_bytes_preferred);
fuse_entry_param ToEntryParam(const Entry& entry, uint64_t io_bytes_preferred);
FileType TypeOfMode(mode_t mode);
// S_IFREG and so on.
mode_t ModeOfType(FileType type);
double Seconds(Duration duration);

inline FuseSession* SessionOf(fuse_req_t request) {
  return static_cast<FuseSession*>(fuse_req_userdata(request));
}

// A request that waits for its answer. Not copyable: it is answered once.
class PendingRequest {
 public:
  PendingRequest(fuse_req_t request, Operation operation);
  PendingRequest(const PendingRequest&) = delete;
  PendingRequest& operator=(const PendingRequest&) = delete;
  // Unanswered at the end (its coroutine was dropped): libfuse's memory is given back.
  ~PendingRequest();

  FuseSession& session() { return session_; }
  fuse_req_t request() { return request_; }
  bool answered() const { return answered_; }
  // Each says whether the kernel took the answer; false: nobody waits for it any more. After an
  // early answer they do nothing and give false.
  bool Error(int error);
  template <class Reply>
  bool Answer(Reply reply) {
    if (answered_) return false;
    Close(0);
    return reply(request_) == 0;
  }

  // Lets a process that is being killed go at once, with EINTR. For requests whose effect nobody
  // would miss. `self` is this.
  static void AllowInterrupt(const std::shared_ptr<PendingRequest>& self);

 private:
  static void OnInterrupt(fuse_req_t request, void* self);
  static Task<void> AnswerWhenKilled(std::shared_ptr<PendingRequest> self);
  void Close(int error);

  FuseSession& session_;
  const fuse_req_t request_;
  const Operation operation_;
  const pid_t caller_;  // a thread; 0: of another pid namespace
  const Instant begun_;
  bool answered_ = false;
  std::weak_ptr<PendingRequest> self_;
};

using Pending = std::shared_ptr<PendingRequest>;

// Whether a thread has a SIGKILL waiting; false when that cannot be told.
bool IsBeingKilled(pid_t thread);

}  // namespace moraine::fs::mount
