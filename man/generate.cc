// Prints the manual pages that belong to no program:
//
//   moraine_man_pages metrics    moraine_metrics.7
//   moraine_man_pages rocksdb    moraine_rocksdb.7
//
// Metrics are made where they are counted, so their list is read from the registries of servers
// and a client that run on a simulated loop.
#include <fmt/format.h>
#include <rocksdb/env.h>

#include <cstdio>
#include <memory>

#include "base/check.h"
#include "base/loop/sim/world.h"
#include "base/man_page.h"
#include "base/metrics.h"
#include "chunkserver/service/chunkserver.h"
#include "fs/client/client.h"
#include "fs/mount/fuse_session.h"
#include "kv/rocksfs/io_status_map.h"
#include "kv/rocksfs/uri.h"
#include "metaserver/service/metaserver.h"
#include "metaserver/testing/volatile_file_system.h"
#include "protocol/policy.h"

namespace moraine {
namespace {

constexpr uint64_t kSeed = 1;
constexpr Duration kLimit = std::chrono::minutes(5);  // of the world's time

// A metaserver on a file system in memory, with the chunkserver and the client that talk to it.
class MetaProcess : public sim::Process {
 public:
  MetaProcess(sim::SimLoop& loop, MetricRegistry& metrics)
      : env_(metaserver::VolatileFileSystem::MakeEnv(
            std::make_shared<metaserver::VolatileFileSystem>())) {
    metaserver::MetaserverOptions options;
    options.store.directory = "/meta";
    options.store.env = env_.get();
    options.listen = {"meta", 7440};
    auto opened = metaserver::Metaserver::Open(loop, std::move(options), metrics);
    MORAINE_CHECK(opened.ok(), opened.status().ToString());
    metaserver_ = std::move(*opened);
    const Status started = metaserver_->Start();
    MORAINE_CHECK(started.ok(), started.ToString());
  }

 private:
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<metaserver::Metaserver> metaserver_;
};

struct Registries {
  MetricRegistry metaserver;
  MetricRegistry chunkserver;
  MetricRegistry mount;
};

void Fill(Registries& registries) {
  sim::World world(kSeed);
  sim::Machine& meta = world.AddMachine("meta");
  sim::Machine& chunks = world.AddMachine("chunks");
  sim::Machine& user = world.AddMachine("user");
  meta.Start([&](sim::SimLoop& loop) {
    return std::make_unique<MetaProcess>(loop, registries.metaserver);
  });
  sim::SimLoop& loop = chunks.Start();
  chunkserver::ChunkserverOptions options;
  options.store.dir = "/chunks";
  options.store.journal_bytes = 4 << 20;
  options.listen = "chunks:7420";
  options.metaserver = "meta:7440";
  chunkserver::Chunkserver server(loop, options, registries.chunkserver);
  const auto started = world.Await(loop, server.Start(), kLimit);
  MORAINE_CHECK(started.has_value() && started->ok(), started ? started->ToString() : "no answer");
  sim::SimLoop& client_loop = user.Start();
  fs::ClientOptions client_options;
  client_options.metaserver = {"meta", 7440};
  const fs::Client client(client_loop, client_options, registries.mount);
  fs::mount::FuseSession::MakeMetrics(registries.mount);
  const auto stopped = world.Await(loop, server.Stop(), kLimit);
  MORAINE_CHECK(stopped.has_value() && stopped->ok(), stopped ? stopped->ToString() : "no answer");
}

void AddMetrics(ManPage& page, std::string_view title, const MetricRegistry& registry) {
  page.Section(title);
  for (const MetricRegistry::FamilyInfo& family : registry.Families()) {
    std::string labels;
    for (const std::string& label : family.labels) {
      labels += fmt::format("{}{}", labels.empty() ? "{" : ", ", label);
    }
    if (!labels.empty()) labels += "}";
    page.Entry(fmt::format("`{}`{} ({})", family.name, labels, family.type), family.help);
  }
}

std::string MetricsPage() {
  Registries registries;
  Fill(registries);
  ManPage page("moraine_metrics", 7, "What the servers of Moraine count.");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "Each server and each mount answers `GET /metrics` on the address of its `--http` with all "
      "of "
      "its metrics in Prometheus' text format 0.0.4, and `GET /healthz` with 200 and `ok`, or 503 "
      "and one line that says what is wrong.\n\n"
      "Names end in their unit: a counter in `_total` and begins at zero with the process, bytes "
      "in "
      "`_bytes`, times in `_seconds`. A histogram has buckets an eighth of a power of two wide, so "
      "a quantile is at most 12.5 % above the truth; empty buckets are left out.");
  page.Example("curl http://127.0.0.1:7441/metrics", "All of one process:");
  AddMetrics(page, "METASERVER", registries.metaserver);
  AddMetrics(page, "CHUNKSERVER", registries.chunkserver);
  AddMetrics(page, "MOUNT", registries.mount);
  page.Section("HEALTH");
  page.Entry("metaserver",
             "Well while its state can be written. After a failed write or sync it "
             "ends by itself, to be started again.");
  page.Entry("chunkserver",
             "Well while its disk has given no error (else it is in quarantine) and "
             "the metaserver answers its heartbeats.");
  page.Entry("mount", "Well while the file system is mounted, also while servers are away.");
  page.SeeAlso(
      {"moraine-metaserver(8)", "moraine-chunkserver(8)", "moraine-mount(8)", "moraine(1)"});
  return page.text();
}

void AddUri(ManPage& page) {
  page.Section("URI");
  page.Paragraph(
      "`moraine://`HOST:PORT[/PATH][?OPTION=VALUE[&OPTION=VALUE]...]\n\n"
      "HOST:PORT is the metaserver's; when it is left out (`moraine:///PATH`) the environment "
      "variable MORAINE_METASERVER has it. Every path that RocksDB uses lies below PATH. A URI "
      "that "
      "is wrong in any way is refused with one sentence, as InvalidArgument.");
  page.Section("OPTIONS");
  for (const rocksfs::UriOption& option : rocksfs::UriOptions()) {
    page.Entry(
        fmt::format("`{}`", option.name),
        fmt::format("{} Default: {}. Allowed: {}.", option.sentence,
                    option.preset.empty() ? "none" : "`" + option.preset + "`", option.allowed));
  }
}

void AddPolicies(ManPage& page) {
  page.Section("POLICIES");
  page.Paragraph(
      "How many copies a file has is decided by its kind when it is made. `moraine policy` shows "
      "the policies of a cluster and makes others.");
  const auto add = [&](std::string_view name, const protocol::Policy& policy) {
    page.Entry(
        fmt::format("`{}`", name),
        fmt::format("{} copies, {} of them acknowledge an append; made on {} servers or more "
                    "while others are down. {} machines may die at once.",
                    policy.n, policy.w, policy.floor, policy.w - 1));
  };
  add("immutable", protocol::kImmutablePolicy);
  add("log", protocol::kLogPolicy);
  add("single", protocol::kSinglePolicy);
}

void AddErrors(ManPage& page) {
  page.Section("ERRORS");
  page.Paragraph(
      "What RocksDB gets for each error of the file system. A retryable one passes by "
      "itself, and RocksDB tries again.");
  for (uint16_t number = 1; number < UINT16_MAX; ++number) {
    const Code code = CodeFromNumber(number);
    if (static_cast<uint16_t>(code) != number) continue;  // no such number
    const rocksdb::IOStatus status =
        rocksfs::ToIoStatus(Status(code, ""), "", rocksfs::Missing::kAsPathNotFound);
    std::string text = status.ToString();
    text = text.substr(0, text.find(':'));
    if (status.GetRetryable()) text += ", retryable";
    if (status.GetDataLoss()) text += ", data loss";
    page.Entry(fmt::format("`{}`", CodeName(code)), text + ".");
  }
}

std::string RocksdbPage() {
  ManPage page("moraine_rocksdb", 7, "RocksDB's file system on Moraine.");
  page.Section("SYNOPSIS");
  page.Paragraph(
      "`LD_PRELOAD=libmoraine_rocksdb.so` PROGRAM `--fs_uri=moraine://`HOST:PORT[/PATH]");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "`libmoraine_rocksdb.so` is a RocksDB `FileSystem` (RocksDB 7.8). Preloaded or linked, it "
      "registers the scheme `moraine://`, so that db_bench, ldb, sst_dump and every program that "
      "makes its FileSystem or Env from a URI work on a Moraine cluster unchanged.\n\n"
      "Opening a database takes its directory over: the owner before, alive or not, is fenced, and "
      "its next write fails with IOFenced. So a database moves by being opened elsewhere; no data "
      "is copied. A WAL that was synced survives any two machines.\n\n"
      "In a child after fork(2) without exec(3) the file system must not be used.");
  AddUri(page);
  AddPolicies(page);
  page.Entries("ENVIRONMENT", {{"`MORAINE_METASERVER`", "HOST:PORT, for URIs that name none."},
                               {"`MORAINE_LOG`",
                                "The least important level that is logged: debug, info, warning, "
                                "error or off; warning when it is not set."}});
  AddErrors(page);
  page.Section("EXAMPLES");
  page.Example(
      "export LD_PRELOAD=/usr/lib/libmoraine_rocksdb.so\n"
      "db_bench --benchmarks=fillseq --num=10000 --db=/bench \\\n"
      "  --fs_uri=moraine://127.0.0.1:7440\n"
      "ldb --db=/bench --fs_uri=moraine://127.0.0.1:7440 checkconsistency",
      "Debian's own tools, on a database in the directory /bench of the file system:");
  page.Example(
      "std::shared_ptr<rocksdb::FileSystem> fs;\n"
      "rocksdb::Status status = rocksdb::FileSystem::CreateFromString(\n"
      "    rocksdb::ConfigOptions(), \"moraine://127.0.0.1:7440/dbs?timeout=10s\", &fs);\n"
      "std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(fs);\n"
      "options.env = env.get();",
      "In a program that links the library, before it opens its database:");
  page.SeeAlso({"moraine(1)", "moraine-policy-list(1)", "moraine-metaserver(8)"});
  return page.text();
}

int Main(int argc, char** argv) {
  const std::string_view which = argc == 2 ? argv[1] : "";
  if (which != "metrics" && which != "rocksdb") {
    fmt::print(stderr, "usage: moraine_man_pages metrics|rocksdb\n");
    return 2;
  }
  fmt::print("{}", which == "metrics" ? MetricsPage() : RocksdbPage());
  return 0;
}

}  // namespace
}  // namespace moraine

int main(int argc, char** argv) { return moraine::Main(argc, argv); }
