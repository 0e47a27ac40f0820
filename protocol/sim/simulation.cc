#include "protocol/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol/sim/chunkservers.h"
#include "protocol/sim/metaserver.h"
#include "protocol/sim/writers.h"

namespace moraine::protocol::sim {
namespace {

using Kind = Message::Kind;

constexpr int kWritersMax = 3;
constexpr size_t kChunksMax = 7;
constexpr int kRoundsMax = 200;  // after the faults have stopped

bool IsForWriter(Kind kind) {
  switch (kind) {
    case Kind::kAck:
    case Kind::kRefused:
    case Kind::kClosed:
    case Kind::kCloseRefused:
    case Kind::kSettled:
      return true;
    default:
      return false;
  }
}

bool IsForChunkserver(Kind kind) {
  switch (kind) {
    case Kind::kAppend:
    case Kind::kFence:
    case Kind::kHold:
    case Kind::kCopyFrom:
    case Kind::kCopyData:
    case Kind::kSeal:
      return true;
    default:
      return false;
  }
}

class Simulation {
 public:
  explicit Simulation(Context& context)
      : context_(context), servers_(context), meta_(context, servers_.seen), writers_(context) {}

  void Run() {
    context_.servers.resize(context_.knobs.servers);
    BeginWriter(0);
    for (int i = 0; i < context_.knobs.steps && context_.violation.empty(); ++i) {
      ++context_.stats.steps;
      Step();
      CheckPromises();
    }
    if (context_.violation.empty()) Settle();
  }

 private:
  void BeginWriter(uint64_t file_start) {
    int chunk = meta_.MakeChunk(writers_.count(), file_start);
    if (chunk < 0) return;
    meta_.SetOwner(writers_.Begin(chunk));
  }

  void Step() {
    uint64_t dice = context_.random.Uniform(100);
    if (dice < 52) {
      for (uint64_t i = context_.random.Between(1, 4); i > 0; --i) DeliverOne();
    } else if (dice < 60) {
      servers_.FinishOneWrite();
    } else if (dice < 80) {
      if (context_.chunks.size() < kChunksMax) writers_.Act();
    } else if (dice < 86) {
      meta_.Tick();
    } else if (dice < 90) {
      servers_.Read();
    } else {
      Fault();
    }
    uint64_t length = 0;
    if (meta_.TakeOverDone(&length)) next_start_ = length;
    if (next_start_ && writers_.count() < kWritersMax && context_.chunks.size() < kChunksMax) {
      BeginWriter(*next_start_);
      next_start_.reset();
    }
  }

  void DeliverOne() {
    if (context_.network.empty()) return;
    size_t index = context_.random.Uniform(context_.network.size());
    // Half of the time the oldest goes first, as it does on a real network.
    if (context_.random.OneIn(2)) index = 0;
    Deliver(index);
  }

  // False if its receiver is not listening now.
  bool Deliver(size_t index) {
    Message message = context_.network[index];
    bool to_server = IsForChunkserver(message.kind);
    if (to_server) {
      int replica = message.kind == Kind::kCopyFrom ? message.source : message.replica;
      const Server& server = context_.ServerOf(context_.chunks[message.chunk], replica);
      if (server.frozen) return false;
      if (!server.Answers()) {
        Take(index);
        return true;
      }
    } else if (IsForWriter(message.kind) && !writers_.Listens(message.writer)) {
      return false;
    }
    bool twice = message.kind != Kind::kRecord && !context_.quiet &&
                 context_.Percent(context_.knobs.double_percent);
    if (!twice) Take(index);
    if (to_server) {
      servers_.Deliver(message);
    } else if (IsForWriter(message.kind)) {
      writers_.Deliver(message);
    } else {
      meta_.Deliver(message);
    }
    return true;
  }

  void Take(size_t index) {
    context_.network.erase(context_.network.begin() + static_cast<ptrdiff_t>(index));
  }

  void Fault() {
    const Knobs& knobs = context_.knobs;
    int weights[] = {knobs.crash * 2, knobs.freeze * 2, knobs.kill,       knobs.power,
                     knobs.pause,     knobs.takeover,   knobs.meta_crash, 1};
    int total = 0;
    for (int weight : weights) total += weight;
    int dice = static_cast<int>(context_.random.Uniform(static_cast<uint64_t>(total) + 8));
    int fault = 0;
    while (fault < 8 && dice >= weights[fault]) dice -= weights[fault++];
    int index = static_cast<int>(context_.random.Uniform(context_.servers.size()));
    Server& server = context_.servers[index];
    switch (fault) {
      case 0:
        if (server.dead) break;
        if (server.up) {
          servers_.Crash(index, !context_.random.OneIn(4));
        } else {
          servers_.Start(index);
        }
        break;
      case 1:
        server.frozen = server.up && !server.frozen;
        break;
      case 2:
        Kill(index);
        break;
      case 3:
        PowerCut();
        break;
      case 4:
        writers_.PauseOrResume();
        break;
      case 5:
        meta_.TakeOver();
        break;
      case 6:
        meta_.Crash();
        break;
      case 7:
        if (context_.random.OneIn(4)) writers_.CrashOne();
        break;
      default:
        break;
    }
  }

  // For good; never more than the policy of any chunk bears, or even synced bytes would be gone.
  void Kill(int index) {
    int dead = 0;
    for (const Server& server : context_.servers) dead += server.dead ? 1 : 0;
    int bears = context_.knobs.policy.w - 1;
    for (const Chunk& chunk : context_.chunks) {
      bears = std::min(bears, chunk.record.policy.FailuresMax());
    }
    if (dead >= bears) return;
    context_.Trace(fmt::format("server {} dies", index));
    context_.servers[index].dead = true;
    killed_ = true;
  }

  void PowerCut() {
    for (size_t i = 0; i < context_.servers.size(); ++i) {
      if (!context_.servers[i].dead) servers_.Crash(static_cast<int>(i), true);
    }
    for (size_t i = 0; i < context_.servers.size(); ++i) servers_.Start(static_cast<int>(i));
    meta_.Crash();
    context_.network.clear();
  }

  void CheckPromises() {
    for (const Chunk& chunk : context_.chunks) {
      if (chunk.record.state == ChunkState::kSealed) {
        CheckSealed(chunk);
      } else {
        CheckOpen(chunk);
      }
    }
  }

  void CheckOpen(const Chunk& chunk) {
    int holders = 0;
    int synced = 0;
    int dead = 0;
    for (size_t i = 0; i < chunk.replicas.size(); ++i) {
      const Replica& replica = chunk.replicas[i];
      if (context_.servers[chunk.servers[i]].dead) {
        ++dead;
        continue;
      }
      if (!replica.restarted && replica.state.held() >= chunk.committed) ++holders;
      if (replica.state.synced() >= chunk.synced) ++synced;
    }
    int w = chunk.record.policy.w;
    if (holders < w - context_.Lost(chunk)) {
      context_.Violated("acknowledged bytes are held by too few replicas");
    }
    if (synced < w - dead) context_.Violated("synced bytes are on the disks of too few replicas");
    if (chunk.committed > chunk.record.length) {
      context_.Violated("acknowledged past the length at which the chunk was closed");
    }
  }

  void CheckSealed(const Chunk& chunk) {
    uint64_t length = chunk.record.length;
    if (chunk.committed > length && !chunk.cut) {
      context_.Violated("bytes past the seal were acknowledged");
    }
    if (chunk.synced > length) context_.Violated("synced bytes lie past the seal");
    for (size_t i = 0; i < chunk.replicas.size(); ++i) {
      if (!chunk.record.good.Has(static_cast<int>(i))) continue;
      const Replica& replica = chunk.replicas[i];
      if (context_.servers[chunk.servers[i]].dead) continue;
      if (replica.state.synced() < length) context_.Violated("a good replica lost sealed bytes");
    }
  }

  // The faults stop: everything that was begun must end.
  void Settle() {
    context_.quiet = true;
    for (Server& server : context_.servers) {
      server.up = true;
      server.frozen = false;
    }
    writers_.ResumeAll();
    int owner = writers_.count() - 1;
    bool wait_for_owner = !meta_.taking_over() && owner >= 0 && writers_.Alive(owner) &&
                          AliveServers() >= context_.knobs.policy.floor;
    if (wait_for_owner) {
      auto idle = [&] { return writers_.Idle(owner) || !writers_.Alive(owner); };
      if (!Rounds(idle)) {
        return context_.Violated("a writer's callers wait without end:" + writers_.Describe(owner));
      }
    }
    if (!context_.violation.empty()) return;
    meta_.TakeOver();
    if (!Rounds([&] { return meta_.Unsealed().empty(); })) {
      return context_.Violated("recovery does not end: " + meta_.Unsealed());
    }
    for (const Chunk& chunk : context_.chunks) ReadBack(chunk);
  }

  int AliveServers() const {
    return static_cast<int>(std::count_if(context_.servers.begin(), context_.servers.end(),
                                          [](const Server& server) { return !server.dead; }));
  }

  template <class Done>
  bool Rounds(Done done) {
    for (int round = 0; round < kRoundsMax; ++round) {
      if (!context_.violation.empty() || done()) return true;
      writers_.RetryAll();
      meta_.TickAll();
      for (size_t left = context_.network.size() * 4 + 64; left > 0; --left) {
        if (context_.network.empty()) break;
        Deliver(context_.random.Uniform(context_.network.size()));
        CheckPromises();
      }
      while (servers_.FinishOneWrite()) CheckPromises();
      servers_.Read();
    }
    return done();
  }

  void ReadBack(const Chunk& chunk) {
    bool found = chunk.record.length == 0;
    for (size_t i = 0; i < chunk.replicas.size(); ++i) {
      if (!chunk.record.good.Has(static_cast<int>(i))) continue;
      if (context_.servers[chunk.servers[i]].dead) continue;
      found = true;
      servers_.ReadAll(chunk, static_cast<int>(i), chunk.record);
    }
    // Sealed on fewer than w replicas while the others were out of reach, and then one more died
    // before repair: beyond the policy.
    bool excused = killed_ && chunk.record.good.Count() < chunk.record.policy.w;
    if (!found && !excused) context_.Violated("no good replica of a sealed chunk is left");
  }

  Context& context_;
  Chunkservers servers_;
  Metaserver meta_;
  Writers writers_;
  std::optional<uint64_t> next_start_;
  bool killed_ = false;
};

}  // namespace

Outcome RunSchedule(uint64_t seed, std::optional<Policy> policy, Mutant mutant, bool trace) {
  Context context(seed);
  context.mutant = mutant;
  context.trace = trace;
  context.knobs = DrawKnobs(context.random, policy);
  Simulation(context).Run();
  return {.violation = context.violation, .stats = context.stats};
}

}  // namespace moraine::protocol::sim
