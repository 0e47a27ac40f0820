// What all parts of one store share: options, numbers, the journal, the state of the disk.
// Confined to one loop; owned by Store, which outlives every part.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "base/units.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/journal_needs.h"

namespace moraine::chunkserver {

struct StoreOptions {
  std::string dir;
  std::string cluster;                     // empty: any, or not known yet
  uint64_t journal_bytes = 256_MiB;        // when the store is made
  uint64_t reserve_bytes = 1_GiB;          // free space below which no replica is created
  uint64_t dirty_bytes_max = 256_MiB;      // whole blocks that are only in memory
  uint64_t pending_flush_bytes = 256_KiB;  // of a replica: then they go to its file
  uint64_t flush_piece_bytes = 1_MiB;      // one write
  size_t open_files_max = 512;             // of sealed replicas
  size_t checksum_pages_max = 16384;       // in memory, 4 KiB each
  bool verify_reads = true;
  uint64_t scrub_bytes_per_second = 16_MiB;      // 0: off
  Duration scrub_pause = std::chrono::hours(1);  // between two passes
  Duration trash_grace = std::chrono::minutes(10);
  // How long a deleted chunk that was fenced before it was made here keeps late writers out.
  Duration tombstone_grace = std::chrono::hours(24);
  // An open replica that gets no append for as long is told of, since its seal may have been
  // missed.
  Duration idle_report = std::chrono::seconds(30);
  Duration retry_delay = std::chrono::seconds(1);  // of a deletion whose file cannot be moved
};

struct StoreMetrics {
  explicit StoreMetrics(MetricRegistry& registry);
  MetricRegistry& registry;
  Counter& appends;
  Counter& append_bytes;
  Counter& syncs;
  Counter& file_syncs;
  Counter& flush_bytes;
  Counter& checkpoints;
  Counter& reads;
  Counter& read_bytes;
  Counter& checksum_failures;
  Counter& scrubbed_bytes;
  Gauge& dirty_bytes;
  Gauge& open_replicas;
  Gauge& replicas;
  Histogram& append_time;
  Histogram& sync_time;
  Histogram& read_time;
};

class StoreContext {
 public:
  StoreContext(Loop& loop, StoreOptions options, MetricRegistry& registry)
      : loop(loop), options(std::move(options)), metrics(registry), room(loop), background(loop) {}

  // kQuarantined after the first I/O error of a write.
  Status CheckWritable() const;
  // The disk has failed: reads only, from now on. The first reason stays.
  void Quarantine(const Status& why);
  bool quarantined() const { return !quarantine.ok(); }
  // Why nobody should wait for a flush to make room: quarantine, or a full disk. A caller that
  // comes later finds out by trying.
  Status CheckMayWait() const;
  // Takes note of the outcome of a write: an error that the disk gave is its end; kNoSpace,
  // kOverloaded (no descriptor, no memory) and refusals of our own pass.
  Status NoteWrite(Status status);

  void AddDirty(int64_t bytes);
  // Waits until `bytes` more may be held in memory. kOverloaded: not before the deadline.
  Task<Status> WaitForRoom(uint64_t bytes, Instant deadline);
  // kOverloaded when the deadline has passed: nobody waits for the outcome any more.
  Status CheckInTime(Instant deadline) const;
  bool DirtyPressure() const {
    return waiting_for_room > 0 || dirty_bytes > options.dirty_bytes_max / 2;
  }
  std::string PathOf(const std::string& name) const { return options.dir + "/" + name; }

  Loop& loop;
  const StoreOptions options;
  StoreMetrics metrics;
  std::string cluster;  // of the superblock; may be empty
  std::unique_ptr<Journal> journal;
  JournalNeeds needs;
  Status quarantine;
  bool disk_full = false;  // as the last write to a chunk file said
  uint64_t dirty_bytes = 0;
  int waiting_for_room = 0;
  Condition room;
  TaskGroup background;  // flushes, checkpoints, finalizing, moves to the trash
  std::function<void()> on_pressure = [] {};
  std::function<void(ChunkId)> on_changed = [](ChunkId) {};  // sealed or damaged now
};

// Replicas that are checkpointed or completed side by side.
inline constexpr size_t kRestateWidth = 8;

// What a sync gave. Out of space is then an error of the disk too: what was to be written may be
// gone from the page cache, and a sync that is tried again would find nothing to write.
Status OutcomeOfSync(Status status);
// Whether bytes that were being written must be taken for lost.
bool LosesBytes(const Status& status);

using Job = std::function<Task<void>()>;  // for RunBounded

}  // namespace moraine::chunkserver
