// What a simulated world is made of: delays, limits, and how often it misbehaves by itself. Every
// chance is per operation and zero by default, so that a test says which faults it means; delays,
// clock errors, split reads and reordering between connections are always on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/loop/time.h"

namespace moraine::sim {

struct NetOptions {
  Duration latency_min = 40us;
  Duration latency_spread = 160us;  // evenly added
  double tail_chance = 0.01;        // a packet that meets a queue
  Duration tail = 5ms;
  Duration loopback_latency = 8us;
  uint64_t bytes_per_second = 1'250'000'000;  // of each directed link; 0: no limit
  uint64_t window_bytes = 256 << 10;  // sent and not yet read, per direction; then Write waits
  uint64_t segment_bytes = 64 << 10;
  size_t backlog_max = 128;
  double split_read_chance = 0.1;  // a Read returns less than there is
  double reset_chance = 0;         // per segment sent: the connection breaks
  Duration connect_retry = 1s;     // a lost request to connect is sent again, then after twice that
  Duration retransmit_max = 2s;    // after a heal, waiting bytes arrive within this
  Duration stall_reset_min = 10s;  // bytes that cannot be delivered break the connection after a
  Duration stall_reset_max = 60s;  // time in between
};

struct DiskOptions {
  uint64_t capacity_bytes = 1ULL << 40;
  Duration read_latency = 80us;
  Duration write_latency = 30us;  // into the page cache
  Duration sync_latency = 250us;  // also of each write of a direct or durable_writes file
  Duration name_latency = 20us;
  uint64_t bytes_per_second = 1'000'000'000;
  double tail_chance = 0.01;
  Duration tail = 20ms;
  double writeback_chance = 0.05;  // after a write the kernel writes some dirty sectors by itself
  double read_error_chance = 0;    // kIo
  double write_error_chance = 0;   // kIo; any prefix may have been written
  double sync_error_chance = 0;    // kIo; the unsynced data may be gone
  double bit_flip_chance = 0;      // per write: one bit of what it wrote rots
  double misdirected_write_chance = 0;  // the bytes land elsewhere in the file
  double lost_write_chance = 0;         // acknowledged, never done
  // A disk, or the program above it, that breaks its word; for mutants.
  bool ignores_syncs = false;       // of files, durable_writes too: acknowledged, nothing is kept
  bool ignores_name_syncs = false;  // of directories
  bool ignores_no_space = false;    // a write that does not fit is acknowledged
  // At a power cut: an unsynced sector is left half old, half new. Zero by default, because
  // base/loop/disk.h promises whole sectors; writes of many sectors are always torn between them.
  double torn_sector_chance = 0;
};

struct ClockOptions {
  int64_t wall_start_ns = 1'700'000'000'000'000'000;
  Duration wall_skew_max = 500ms;  // each machine is off by up to this, either way
  int64_t drift_ppm_max = 50;      // of both clocks, either way
};

struct WorldOptions {
  NetOptions net;
  DiskOptions disk;
  ClockOptions clock;
  Duration turn_delay_max = 5us;      // from being ready to running
  Duration blocking_delay_max = 2ms;  // of RunBlocking
  size_t trace_events_max = 400;      // remembered for Trace()
};

}  // namespace moraine::sim
