// The simulated writers: what a client's append stream does around AppendWriter. Each has the file
// until another takes it over; the old one may be alive and know nothing of it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "protocol/append_writer.h"
#include "protocol/sim/context.h"

namespace moraine::protocol::sim {

class Writers {
 public:
  explicit Writers(Context& context) : context_(context) {}

  // A new owner begins in `chunk`.
  int Begin(int chunk);
  int count() const { return static_cast<int>(writers_.size()); }
  void Deliver(const Message& message);
  bool Listens(int writer) const { return !writers_[writer].paused; }

  // One random writer does something: appends, syncs, sends again, gives up on a replica, closes.
  void Act();
  void PauseOrResume();
  void CrashOne();

  // Faults have stopped: everyone sends again what is not answered.
  void ResumeAll();
  void RetryAll();
  // Whether the owner's callers are all answered.
  bool Idle(int writer) const;
  std::string Describe(int writer) const;
  bool Alive(int writer) const { return !writers_[writer].crashed && !writers_[writer].fenced; }

 private:
  struct Stream {  // one chunk of one writer
    explicit Stream(AppendWriter appender) : append(std::move(appender)) {}
    AppendWriter append;
    std::vector<AppendHeader> sent;
    bool moved = false;  // what it could not commit has gone to the next chunk
  };
  struct Writer {
    std::map<int, Stream> streams;  // by chunk
    int current = -1;
    bool paused = false;
    bool crashed = false;
    bool fenced = false;
  };

  void Open(Writer& writer, int chunk);
  void Append(int id, uint64_t bytes, bool sync);
  void SendAppend(int id, int chunk, const AppendHeader& header, int replica);
  void Resend(int id, int chunk, int replica);
  void SendClose(int id, int chunk);
  void OnClosed(const Message& message);
  void OnRefused(const Message& message);
  void TellCallers(int id, int chunk);
  void MaybeRoll(int id);

  Context& context_;
  std::vector<Writer> writers_;
};

}  // namespace moraine::protocol::sim
