#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/options.h"
#include "base/units.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/json_text.h"
#include "tools/terminal.h"

namespace moraine::tools {
namespace {

using Json = nlohmann::json;

std::string Bytes(int64_t bytes) { return FormatBytes(static_cast<uint64_t>(bytes)); }

void PrintJson(const idl::ClusterStatus& status) {
  Json servers = Json::array();
  for (const idl::ServerStatus& server : status.servers) {
    servers.push_back({{"server", server.server_id},
                       {"endpoint", server.endpoint},
                       {"location", server.location},
                       {"alive", server.alive},
                       {"silent_ms", server.silent_ms},
                       {"total_bytes", server.total_bytes},
                       {"free_bytes", server.free_bytes},
                       {"chunks", server.chunks},
                       {"quarantined", server.quarantined}});
  }
  const Json json = {{"cluster", status.cluster},
                     {"uptime_ms", status.uptime_ms},
                     {"inodes", status.inodes},
                     {"chunks", status.chunks},
                     {"open_chunks", status.open_chunks},
                     {"under_replicated_chunks", status.under_replicated_chunks},
                     {"lost_chunks", status.lost_chunks},
                     {"deleting_chunks", status.deleting_chunks},
                     {"sessions", status.sessions},
                     {"user_bytes", status.user_bytes},
                     {"stored_bytes", status.stored_bytes},
                     {"servers", servers}};
  fmt::print("{}\n", JsonText(json));
}

void PrintWords(const idl::ClusterStatus& status) {
  size_t alive = 0;
  for (const idl::ServerStatus& server : status.servers) alive += server.alive ? 1 : 0;
  std::string health = Toned(Tone::kGood, "all chunks have their replicas");
  if (status.lost_chunks > 0) {
    health = Toned(Tone::kBad, fmt::format("{} chunks have no good replica", status.lost_chunks));
  } else if (status.under_replicated_chunks > 0) {
    health = Toned(Tone::kWarning,
                   fmt::format("{} chunks wait for replicas", status.under_replicated_chunks));
  }
  fmt::print("cluster   {}\nhealth    {}; {} of {} chunkservers are up\n", status.cluster, health,
             alive, status.servers.size());
  fmt::print("content   {} inodes, {} chunks ({} open, {} being deleted), {} sessions\n",
             status.inodes, status.chunks, status.open_chunks, status.deleting_chunks,
             status.sessions);
  fmt::print("bytes     {} of users, {} stored{}\n\n", Bytes(status.user_bytes),
             Bytes(status.stored_bytes),
             status.user_bytes > 0
                 ? fmt::format(" ({:.2f} times)", static_cast<double>(status.stored_bytes) /
                                                      static_cast<double>(status.user_bytes))
                 : "");
  fmt::print("{:>6}  {:<21} {:<20} {:<12} {:>10} {:>10} {:>8}\n", "SERVER", "ENDPOINT", "LOCATION",
             "STATE", "FREE", "TOTAL", "CHUNKS");
  for (const idl::ServerStatus& server : status.servers) {
    const std::string state = !server.alive ? fmt::format("silent {}s", server.silent_ms / 1000)
                              : server.quarantined ? "quarantined"
                                                   : "up";
    const Tone tone = state == "up" ? Tone::kGood : Tone::kBad;
    fmt::print("{:>6}  {:<21} {:<20} {} {:>10} {:>10} {:>8}\n", server.server_id, server.endpoint,
               server.location, Toned(tone, fmt::format("{:<12}", state)), Bytes(server.free_bytes),
               Bytes(server.total_bytes), server.chunks);
  }
}

}  // namespace

int ShowStatus(int argc, const char* const* argv) {
  OptionTable table("moraine status", "Shows servers, space and the health of chunks.");
  ClusterChoice choice(table);
  std::string path;
  table.AddArgument("path", &path, false, "A path below a mount: its cluster is meant.");
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "What the metaserver knows. A chunkserver is up, silent (it has not been heard of for so "
      "long), or quarantined (its disk has failed: it is read from only). Chunks that wait for "
      "replicas are being copied; chunks that have no good replica cannot be read until one of "
      "their servers is back.",
      {{"moraine status --dir /tmp/demo", "Of a dev cluster:"},
       {"moraine status --dir /tmp/demo --json", "For programs:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  auto link = choice.Connect(path.empty() ? std::nullopt : std::optional(path));
  if (!link.ok()) return Complain(table, link.status());
  auto status = (*link)->Ask(idl::kClusterStatus, idl::Empty());
  if (!status.ok()) return Complain(table, status.status());
  if (choice.json) {
    PrintJson(*status);
  } else {
    PrintWords(*status);
  }
  return 0;
}

}  // namespace moraine::tools
