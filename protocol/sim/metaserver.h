// The simulated metaserver: chunk records, closes, takeovers and recoveries. Its records are
// durable; attempts in progress are lost when it crashes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "protocol/seal.h"
#include "protocol/sim/context.h"

namespace moraine::protocol::sim {

class Metaserver {
 public:
  Metaserver(Context& context, std::vector<int>& seen) : context_(context), seen_(seen) {}

  // A new chunk for `writer` at `file_start`, on servers that are up. -1 if there are too few.
  int MakeChunk(int writer, uint64_t file_start);
  void Deliver(const Message& message);
  // The writer is taken for dead, rightly or not: every open chunk is fenced.
  void TakeOver();
  bool taking_over() const { return taking_over_; }
  // Whose lease it is; -1 while nobody has it. A late request of an older writer gets no new chunk.
  void SetOwner(int writer) { owner_ = writer; }
  // All chunks are sealed: the next writer may begin. Returns the file's length.
  bool TakeOverDone(uint64_t* file_length);
  // One timer of one attempt fires, or a chunk without an attempt gets one.
  void Tick();
  void TickAll();
  void Crash() { attempts_.clear(); }
  std::string Unsealed() const;

 private:
  struct Attempt {
    int id = 0;
    int chunk = 0;
    SealProcedure procedure;
    bool fence_deadline_over = false;
    bool over_budget = false;  // truth: when patience ended, too few could have answered
  };

  void Store(Chunk& chunk, const ChunkRecord& record);
  Attempt* Find(int id);
  void Begin(int chunk_index, bool fence);
  void Execute(Attempt& attempt, const std::vector<SealRequest>& requests);
  void OnClose(const Message& message);
  void OnRecord(Attempt& attempt);
  void CheckSeal(const Attempt& attempt, Chunk& chunk, uint64_t length);
  void Timer(Attempt& attempt);
  bool OverBudget(const Chunk& chunk) const;
  void Reap();
  void Adopt();

  Context& context_;
  std::vector<int>& seen_;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  int next_attempt_ = 0;
  int owner_ = -1;
  bool taking_over_ = false;
};

}  // namespace moraine::protocol::sim
