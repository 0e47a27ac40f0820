#include "chunkserver/service/options.h"

#include <algorithm>

namespace moraine::chunkserver {
namespace {

// zone/rack/host, from the widest to the narrowest; parts may be missing from the left.
Status CheckLocation(const OptionTable& table, const std::string& location) {
  const auto slashes = std::count(location.begin(), location.end(), '/');
  const bool empty_part = location.starts_with('/') || location.ends_with('/') ||
                          location.find("//") != std::string::npos;
  if (slashes > 2 || empty_part) return table.Bad("location", "zone/rack/host, rack/host or host");
  return {};
}

}  // namespace

std::unique_ptr<OptionTable> MakeChunkserverOptionTable(ChunkserverOptions* o) {
  auto table = std::make_unique<OptionTable>("moraine-chunkserver",
                                             "Keeps replicas of chunks on a disk of this machine.");
  table->AddPath("dir", &o->store.dir, "Directory of the store; made when it is empty or missing.",
                 {.required = true});
  table->AddEndpoint("metaserver", &o->metaserver, "The metaserver to register with.",
                     {.required = true});
  table->AddEndpoint("listen", &o->listen, "Address to serve on.");
  table->AddEndpoint("advertise", &o->advertise,
                     "Address that others reach this server at; empty: the one it listens on.");
  table->AddString("location", &o->location,
                   "Failure domains as zone/rack/host; replicas of a chunk never share one while "
                   "there are enough.");
  table->AddEndpoint("http", &o->http, "Address of /metrics and /healthz; empty: none.");
  table->AddBytes("journal-bytes", &o->store.journal_bytes, 4_MiB, 64_GiB,
                  "Size of the journal, when the store is made.");
  table->AddBytes("reserve-bytes", &o->store.reserve_bytes, 0, 16_TiB,
                  "Free space that no new replica may take.");
  table->AddBytes("dirty-bytes-max", &o->store.dirty_bytes_max, 16_MiB, 64_GiB,
                  "Acknowledged bytes that may be in memory only.");
  table->AddInt("open-files-max", &o->store.open_files_max, 16, 1000000,
                "Files of sealed replicas kept open.");
  table->AddBool("verify-reads", &o->store.verify_reads,
                 "Check what is read before it is sent (readers check it again).");
  table->AddBytes("scrub-bytes-per-second", &o->store.scrub_bytes_per_second, 0, 16_GiB,
                  "How fast sealed replicas are checked in the background; 0: not at all.");
  table->AddDuration("scrub-pause", &o->store.scrub_pause, 1s, 8760h,
                     "Pause between two checks of all replicas.");
  table->AddDuration("trash-grace", &o->store.trash_grace, 0s, 8760h,
                     "How long deleted replicas stay in the trash.");
  table->AddDuration("heartbeat", &o->heartbeat, 50ms, 1min,
                     "How often the metaserver is told that this server lives.");
  table->AddDuration("stop-timeout", &o->stop_timeout, 100ms, 1h,
                     "How long an orderly stop may take.");
  table->AddChoice("log-level", &o->log_level, {"debug", "info", "warning", "error", "off"},
                   "What is logged.", {.reload = ReloadClass::kReload});
  table->AddPath("log-file", &o->log_file, "Log to this file; empty: standard error.");
  table->AddRule([table = table.get(), o] { return CheckLocation(*table, o->location); });
  return table;
}

}  // namespace moraine::chunkserver
