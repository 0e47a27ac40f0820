#include "metaserver/main/options.h"

#include "base/limits.h"

namespace moraine::metaserver {
namespace {

Manual MakeManual() {
  return {
      .section = 8,
      .description =
          "One metaserver runs per cluster. It knows the names, which chunks a file has, which "
          "chunkservers hold them, who may write, and it has lost replicas copied. All of its "
          "state is in one directory (a RocksDB). The first start on an empty directory makes a "
          "new cluster with an id of its own; chunkservers join it by registering.\n\n"
          "It may be stopped, killed and started again at any time: what was acknowledged is "
          "kept, clients wait and go on, open chunks are still written meanwhile. It is the only "
          "one that must come back, so keep a copy of its directory, made while it is stopped.\n\n"
          "Nothing on its ports is authenticated: listen on addresses of a trusted network only.",
      .files =
          {{"`--dir`/CURRENT, MANIFEST-*, *.sst, *.log",
            "The state. Never take single files away: a directory that lacks some is refused."},
           {"`--dir`/LOCK", "Held while a metaserver runs on the directory."}},
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
          "state can be written, else 503 and why.",
      .errors = {{"DIR is in use by another process",
                  "A metaserver runs on this directory. Stop it, or give another `--dir`."},
                 {"DIR was written by a newer Moraine; DIR has format N",
                  "Start the version that wrote it. Nothing was changed."},
                 {"DIR is not a metaserver's directory; DIR has lost its file CURRENT",
                  "A wrong `--dir`, or a damaged directory: restore the copy."},
                 {"DIR belongs to cluster X, not Y",
                  "`--cluster` and `--dir` do not fit together."},
                 {"listen on ADDRESS: Address already in use",
                  "Another process has the port; nothing was made on the disk."}},
      .examples = {{"moraine-metaserver --dir /var/lib/moraine/meta --listen 10.0.0.1:7440",
                    "A metaserver that other machines reach:"},
                   {"moraine-metaserver --print-sample-config > /etc/moraine/metaserver.toml\n"
                    "moraine-metaserver --config /etc/moraine/metaserver.toml",
                    "The same from a configuration file, after editing it:"},
                   {"curl http://127.0.0.1:7441/healthz", "Whether it is well:"}},
      .see_also = {"moraine-chunkserver(8)", "moraine-mount(8)", "moraine(1)", "moraine_rocksdb(7)",
                   "moraine_metrics(7)"}};
}

Status CheckCluster(const OptionTable& table, const std::string& cluster) {
  if (cluster.size() <= limits::kNameBytesMax) return {};
  return table.Bad("cluster", "must be an id as `moraine status` shows it");
}

}  // namespace

std::unique_ptr<OptionTable> MakeMetaserverOptionTable(ProgramOptions* o) {
  auto table = std::make_unique<OptionTable>(
      "moraine-metaserver", "Keeps the names, the chunks and the sessions of one Moraine cluster.");
  MetaserverOptions& meta = o->metaserver;
  table->AddPath(
      "dir", &meta.store.directory,
      "Directory of the metaserver's state; made, with a new cluster, when it is missing.",
      {.required = true});
  table->AddEndpoint("listen", &o->listen, "Where clients and chunkservers call.",
                     {.zero_port = true});
  table->AddString("cluster", &meta.cluster,
                   "Id of the cluster that the directory must belong to already; empty: any, and "
                   "a missing directory is made.");
  table->AddDuration("session-ttl", &meta.session_ttl, 500ms, 1h,
                     "A client that is silent for so long loses its leases and directories.");
  table->AddDuration("alive-for", &meta.registry.alive_for, 500ms, 1h,
                     "A chunkserver that is silent for longer gets no new chunks.");
  table->AddDuration(
      "repair-grace", &meta.registry.repair_grace, limits::kRepairGraceMin, 24h * 30,
      "A chunkserver that is silent for longer is dead: its replicas are made anew elsewhere.");
  table->AddBytes("reserve-bytes", &meta.reserve_bytes, 0, 1ULL << 50,
                  "With less free space on its own disk nothing new is made; deletes go on.");
  table->AddDuration("unknown-grace", &meta.caretaker.unknown_grace, 0s, 24h * 365,
                     "How long a replica that no record names is kept before it is deleted.");
  table->AddBytes("server-reserve-bytes", &meta.registry.reserve_bytes, 0, 1ULL << 50,
                  "A chunkserver with less free space gets no new chunks.");
  table->AddInt("repair-copies", &meta.caretaker.repair.copies_max, 1, 1024,
                "Most copies under way in the cluster to replace lost replicas.");
  table->AddInt("repair-copies-per-server", &meta.caretaker.repair.per_server_max, 1, 256,
                "Most copies in which one chunkserver takes part.");
  table->AddBytes("block-cache-bytes", &meta.store.block_cache_bytes, 1 << 20, 1ULL << 40,
                  "Memory for blocks of the state that are read often.");
  table->AddBytes("write-buffer-bytes", &meta.store.write_buffer_bytes, 1 << 20, 1ULL << 34,
                  "Memory for changes that are in the log but not in tables yet.");
  table->AddDuration(
      "lazy-sync", &meta.store.lazy_sync, 1ms, 10s,
      "Longest time that a change of names waits for the disk when nobody asks for it.");
  AddProcessOptions(*table, &o->process, {.listen = &o->listen});
  table->AddRule([table = table.get(), &meta] { return CheckCluster(*table, meta.cluster); });
  table->SetManual(MakeManual());
  return table;
}

}  // namespace moraine::metaserver
