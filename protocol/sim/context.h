// What the parts of one simulated schedule share: its random numbers, its dials, the network, and
// the ledger of what is true, which no simulated process may look at to decide anything.
//
// One file is written by one writer after another into a list of chunks on a few chunkservers. A
// byte is one unit; chunks are a dozen bytes. The protocol classes run unchanged: what stands here
// is what a real embedder does around them, and mutants are mistakes that an embedder, or a changed
// rule, could make.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "protocol/append_replica.h"
#include "protocol/chunk_record.h"
#include "protocol/policy.h"

namespace moraine::protocol::sim {

enum class Mutant {
  kNone,
  kAcceptOldEpoch,      // a replica takes an append whatever its epoch
  kForgetFence,         // a restart without losses forgets the fence, and that it was a restart
  kAckBeforeHeld,       // an append is acknowledged on arrival
  kSyncIsHeld,          // a sync is acknowledged when the bytes are held
  kAckAfterFence,       // a write that a fence cut off is acknowledged all the same
  kAcceptGap,           // an append past the end is put at the end
  kRestartedVouches,    // a restarted replica does not say so
  kCommitOneFewer,      // committed counts w - 1
  kCommitAfterClose,    // the writer goes on to commit in a chunk that it has closed
  kRecoverOneFewer,     // recovery is content with f - 1 answers
  kImpatient,           // recovery believes restarted replicas while better ones are only slow
  kRecordBeforeHold,    // the seal is recorded before anyone has promised the length
  kHoldWithoutSync,     // the promise is given without a flush
  kSealOneShort,        // the recorded length lacks the last byte
  kRecordSuperseded,    // a recovery that a later one has overtaken still records
  kCloseAnyEpoch,       // a close is accepted though recovery has begun
  kForgetClosedLength,  // recovery goes past the length at which the next chunk began
  kReadPastCommitted,   // a reader sees everything that a replica holds
  kCount,
};
const char* MutantName(Mutant mutant);

constexpr uint64_t kCapacityMax = 12;
using Bytes = std::array<uint8_t, 16>;
static_assert(kCapacityMax <= std::tuple_size_v<Bytes>);

struct Message {
  enum class Kind : uint8_t {
    kAppend,
    kAck,
    kRefused,  // writer <-> chunkserver
    kClose,
    kClosed,
    kCloseRefused,
    kSettled,  // writer <-> metaserver
    kFence,
    kFenceAnswer,
    kHold,
    kHeld,
    kShort,
    kCopyFrom,
    kCopyData,
    kCopied,
    kSeal,
    kSealFailed,
    kRecord,  // inside the metaserver: never lost
  };
  Kind kind = Kind::kAppend;
  int chunk = 0;
  int replica = 0;
  int writer = 0;
  int attempt = 0;  // of recovery
  int source = 0;
  int next = -1;
  Epoch epoch{};
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool sync = false;
  bool restarted = false;
  uint64_t committed = 0;
  uint64_t length = 0;
  uint64_t synced = 0;
  ReplicaSet holders{};
  Code code = Code::kOk;
  Bytes data{};
};

// Dials of one schedule; many are zero in any one of them, so that each fault is also met alone.
struct Knobs {
  Policy policy;
  int servers = 3;
  uint64_t capacity = 8;
  int steps = 80;
  int drop_percent = 0;
  int double_percent = 0;
  int slow_disk_percent = 0;
  int crash = 0, freeze = 0, kill = 0, power = 0;  // weights
  int pause = 0, takeover = 0, meta_crash = 0, give_up = 0, close = 0;
};
Knobs DrawKnobs(Random& random, std::optional<Policy> policy);

struct Write {  // accepted, not yet done
  Message message;
  bool copy = false;
};

struct Replica {  // one chunkserver's copy of one chunk
  explicit Replica(ChunkId chunk, Epoch epoch) : state(chunk, epoch), durable_epoch(epoch) {}
  AppendReplica state;
  Bytes disk{};
  std::deque<Write> writes;
  Epoch durable_epoch;
  std::optional<uint64_t> durable_seal;
  Epoch fenced;            // truth: the highest epoch for which a fence was answered
  bool restarted = false;  // truth
};

struct Chunk {
  ChunkRecord record;
  std::vector<ChunkRecord> history;  // for readers whose view is old
  std::vector<int> servers;          // of replica 0, 1 ..
  std::vector<Replica> replicas;
  uint64_t file_start = 0;
  int writer = 0;
  int next = -1;
  // Truth.
  Bytes content{};
  uint64_t written = 0;
  uint64_t committed = 0;  // the most that the writer told its callers is committed ..
  uint64_t synced = 0;     // .. and synced
  bool cut = false;        // sealed as a last resort, more failures than the policy bears
};

struct Server {
  bool up = true;
  bool dead = false;    // for good
  bool frozen = false;  // stopped, will go on
  bool Answers() const { return up && !dead && !frozen; }
};

struct Stats {
  uint64_t steps = 0, acks = 0, closes = 0, takeovers = 0, seals = 0, settled = 0, overtaken = 0;
  uint64_t last_resorts = 0, copies = 0, stale_appends = 0, lossy_restarts = 0, reads = 0;
  uint64_t cut_writes = 0, failed_attempts = 0, degraded = 0, late_closes = 0;
  void Add(const Stats& other);
};

struct Context {
  explicit Context(uint64_t seed) : random(seed) {}
  Random random;
  Knobs knobs;
  Mutant mutant = Mutant::kNone;
  bool trace = false;
  bool quiet = false;  // faults have stopped
  std::vector<Server> servers;
  std::deque<Chunk> chunks;
  std::vector<Message> network;
  std::string violation;
  Stats stats;

  bool Percent(int percent) { return static_cast<int>(random.Uniform(100)) < percent; }
  void Send(const Message& message);
  void Violated(const std::string& what);
  void Trace(const std::string& what) const;
  // Replicas of the chunk whose memory or disk was lost at some time.
  int Lost(const Chunk& chunk) const;
  Server& ServerOf(const Chunk& chunk, int replica) { return servers[chunk.servers[replica]]; }
};

inline uint8_t ByteAt(int writer, uint64_t file_offset) {
  return static_cast<uint8_t>(1 + (static_cast<uint64_t>(writer) * 67 + file_offset * 5) % 251);
}

}  // namespace moraine::protocol::sim
