// The simulated chunkservers: what a real one does around AppendReplica, with disks that lose what
// was not flushed.
#pragma once

#include "protocol/sim/context.h"

namespace moraine::protocol::sim {

class Chunkservers {
 public:
  explicit Chunkservers(Context& context) : context_(context) {}

  void Deliver(const Message& message);
  // Finishes the oldest write of one random replica. False if there is none.
  bool FinishOneWrite();
  void Crash(int server, bool lose_unsynced);
  void Start(int server) { context_.servers[server].up = true; }
  // A reader with some view of the chunk's record asks one replica.
  void Read();
  void ReadAll(const Chunk& chunk, int replica, const ChunkRecord& view);

  // First value seen at each offset of the file.
  std::vector<int> seen;

 private:
  void OnAppend(const Message& message, Replica& replica);
  void OnCopyData(const Message& message, Replica& replica);
  void OnFence(const Message& message, Replica& replica);
  void OnHold(const Message& message, Replica& replica);
  void OnSeal(const Message& message, Replica& replica);
  void OnCopyFrom(const Message& message, Replica& replica);
  void Accepted(const Message& message, Replica& replica, AppendVerdict verdict, bool copy);
  void ForgetFence(Replica& replica, uint64_t length);
  void FinishWrite(Replica& replica);
  void Acknowledge(const Message& message, Replica& replica, bool copy);

  Context& context_;
};

}  // namespace moraine::protocol::sim
