#include "chunkserver/service/options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"

namespace moraine::chunkserver {
namespace {

// zone/rack/host, from the widest to the narrowest; parts may be missing from the left.
Status CheckLocation(const OptionTable& table, const std::string& location) {
  const auto slashes = std::count(location.begin(), location.end(), '/');
  const bool empty_part = location.starts_with('/') || location.ends_with('/') ||
                          location.find("//") != std::string::npos;
  if (location.size() > limits::kNameBytesMax) {
    return table.Bad("location", fmt::format("must have at most {} bytes", limits::kNameBytesMax));
  }
  if (slashes > 2 || empty_part) return table.Bad("location", "zone/rack/host, rack/host or host");
  return {};
}

Status CheckAddresses(const OptionTable& table, const ChunkserverOptions& o) {
  const bool anywhere = o.listen.starts_with("0.0.0.0:") || o.listen.starts_with("[::]:");
  if (anywhere && o.advertise.empty()) {
    return table.Bad("listen",
                     "is every address of this machine, so --advertise must say which one others "
                     "reach it at");
  }
  return {};
}

Manual MakeManual() {
  return {
      .section = 8,
      .description =
          "One chunkserver runs per disk. It keeps replicas of chunks: files of up to 64 MiB that "
          "are appended to, then sealed and never changed. It registers with the metaserver, "
          "which gives it an identity that is kept in its directory, tells it what to copy and "
          "to delete, and stops using it when it falls silent.\n\n"
          "It may be killed at any time: its journal is replayed at the next start. A disk that "
          "gives errors is put in quarantine: it is read from, not written to, and its replicas "
          "are made anew elsewhere. A lost disk is replaced by starting a chunkserver on an "
          "empty directory.\n\n"
          "Nothing on its ports is authenticated: listen on addresses of a trusted network only.",
      .files = {{"`--dir`/superblock", "Whose store this is: cluster, server, format."},
                {"`--dir`/journal", "Small synced appends, before they reach their chunk files."},
                {"`--dir`/chunks", "The replicas, one file each."},
                {"`--dir`/incoming, `--dir`/trash",
                 "Copies under way; deleted replicas, until `--trash-grace` is over."},
                {"`--dir`/LOCK", "Held while a chunkserver runs on the directory."}},
      .environment = {{"`MORAINE_LOG`",
                       "The least important level that is logged before the options are read: "
                       "debug, info, warning, error or off."}},
      .signals = {{"`SIGTERM`, `SIGINT`",
                   "An orderly end within `--stop-timeout`; a second one ends it at once."},
                  {"`SIGHUP`",
                   "Opens the log file anew and takes over what the configuration file has for "
                   "options that can change while it runs."}},
      .metrics =
          "`http://HTTP/metrics` lists all metrics with one sentence each, as Prometheus text; "
          "moraine_metrics(7) explains them. `http://HTTP/healthz` answers 200 and `ok` while the "
          "disk is good and the metaserver answers, else 503 and why.",
      .errors =
          {{"DIR is in use by another process",
            "A chunkserver runs on this directory. Stop it, or give another `--dir`."},
           {"DIR/superblock has format N, this program knows M",
            "Start the version that wrote it. Nothing was changed."},
           {"DIR is a store whose journal is missing; DIR has chunks, but its superblock is "
            "missing",
            "A part of the store is lost. Restore it, or start on an empty directory: the cluster "
            "makes the replicas anew from the other copies."},
           {"metaserver ADDRESS: ... wants cluster X",
            "The directory belongs to another cluster than the metaserver. Give the right "
            "`--metaserver`, or an empty directory."},
           {"listen on ADDRESS: Address already in use",
            "Another process has the port; nothing was made on the disk."}},
      .examples = {{"moraine-chunkserver --dir /srv/disk1/moraine --metaserver 10.0.0.1:7440 \\\n"
                    "  --listen 10.0.0.5:7420 --location zone1/rack2/host5",
                    "A chunkserver on one disk of a machine in a rack:"},
                   {"moraine-chunkserver --print-sample-config > /etc/moraine/disk1.toml\n"
                    "moraine-chunkserver --config /etc/moraine/disk1.toml",
                    "The same from a configuration file, after editing it:"}},
      .see_also = {"moraine-metaserver(8)", "moraine-mount(8)", "moraine(1)",
                   "moraine_metrics(7)"}};
}

}  // namespace

std::unique_ptr<OptionTable> MakeChunkserverOptionTable(ChunkserverOptions* o) {
  auto table = std::make_unique<OptionTable>("moraine-chunkserver",
                                             "Keeps replicas of chunks on a disk of this machine.");
  table->AddPath("dir", &o->store.dir, "Directory of the store; made when it is empty or missing.",
                 {.required = true});
  table->AddEndpoint("metaserver", &o->metaserver, "The metaserver to register with.",
                     {.required = true});
  table->AddEndpoint("listen", &o->listen, "Address to serve on.", {.zero_port = true});
  table->AddEndpoint(
      "advertise", &o->advertise,
      "Address that clients and other chunkservers reach this server at; empty: the one it "
      "listens on.");
  table->AddString("location", &o->location,
                   "Failure domains as zone/rack/host; replicas of a chunk never share one while "
                   "there are enough.");
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
  table->AddDuration("tombstone-grace", &o->store.tombstone_grace, 1min, 8760h,
                     "How long a deleted chunk that was fenced before it was made here keeps late "
                     "writers out.");
  table->AddDuration("trash-grace", &o->store.trash_grace, 0s, 8760h,
                     "How long deleted replicas stay in the trash.");
  table->AddDuration("heartbeat", &o->heartbeat, 50ms, 1min,
                     "How often the metaserver is told that this server lives.");
  AddProcessOptions(*table, &o->process, {.listen = &o->listen});
  table->AddRule([table = table.get(), o] { return CheckLocation(*table, o->location); });
  table->AddRule([table = table.get(), o] { return CheckAddresses(*table, *o); });
  table->SetManual(MakeManual());
  return table;
}

}  // namespace moraine::chunkserver
