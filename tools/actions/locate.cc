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

const char* Words(idl::ReplicaState::type state) {
  switch (state) {
    case idl::ReplicaState::kGood:
      return "good";
    case idl::ReplicaState::kStale:
      return "stale";
    case idl::ReplicaState::kMissing:
      return "missing";
  }
  return "unknown";
}

const char* Words(idl::ChunkState::type state) {
  switch (state) {
    case idl::ChunkState::kOpen:
      return "open";
    case idl::ChunkState::kSealed:
      return "sealed";
    case idl::ChunkState::kFencing:
      return "fencing";
    case idl::ChunkState::kDeleting:
      return "deleting";
    default:
      return "closed";
  }
}

Json ToJson(const std::string& path, const idl::LocateResponse& located) {
  Json chunks = Json::array();
  for (const idl::LocatedChunk& chunk : located.chunks) {
    Json replicas = Json::array();
    for (const idl::LocatedReplica& replica : chunk.replicas) {
      replicas.push_back({{"server", replica.endpoint},
                          {"server_id", replica.server_id},
                          {"state", Words(replica.state)}});
    }
    chunks.push_back({{"id", chunk.chunk},
                      {"state", Words(chunk.state)},
                      {"length", chunk.length},
                      {"file_offset", chunk.file_offset},
                      {"replicas", replicas}});
  }
  return {{"path", path},
          {"inode", located.attributes.inode},
          {"size", located.attributes.size},
          {"policy", located.policy.name},
          {"replicas", located.policy.replicas},
          {"quorum", located.policy.quorum},
          {"inline", located.inline_data},
          {"chunks", chunks}};
}

void PrintWords(const std::string& path, const idl::LocateResponse& located) {
  fmt::print("{}: inode {}, {}, policy {} ({} copies, {} acknowledge)\n", path,
             located.attributes.inode, FormatBytes(static_cast<uint64_t>(located.attributes.size)),
             located.policy.name, located.policy.replicas, located.policy.quorum);
  if (located.inline_data) {
    fmt::print("  held in its inode record at the metaserver\n");
    return;
  }
  for (const idl::LocatedChunk& chunk : located.chunks) {
    fmt::print("  chunk {} at {}: {}, {}\n", chunk.chunk, chunk.file_offset, Words(chunk.state),
               FormatBytes(static_cast<uint64_t>(chunk.length)));
    for (const idl::LocatedReplica& replica : chunk.replicas) {
      const bool good = replica.state == idl::ReplicaState::kGood;
      fmt::print("    {} server {} {}\n",
                 Toned(good ? Tone::kGood : Tone::kBad, fmt::format("{:<8}", Words(replica.state))),
                 replica.server_id, replica.endpoint);
    }
  }
}

}  // namespace

int Locate(int argc, const char* const* argv) {
  OptionTable table("moraine locate",
                    "Shows where a file's chunks are and how good their replicas are.");
  ClusterChoice choice(table);
  std::string path;
  table.AddArgument(
      "path", &path, true,
      "A path below a mount, an absolute path in the file system, or moraine://HOST:PORT/path.");
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "A file of at most 4 KiB is held in its inode record. Others are made of chunks of up to 64 "
      "MiB; each is open (its writer may append), closed, fencing or sealed (it never changes "
      "again). A replica is good, stale (it lacks bytes, or its checksum does not match) or "
      "missing "
      "(its server is dead).",
      {{"cp /etc/services /tmp/demo/mnt/\nmoraine locate /tmp/demo/mnt/services",
        "A file below a mount:"},
       {"moraine locate --dir /tmp/demo /services --json", "By its path in the file system:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  auto link = choice.Connect(path);
  if (!link.ok()) return Complain(table, link.status());
  Result<std::string> inside = choice.InsidePath(path);
  if (!inside.ok()) return Complain(table, inside.status());
  idl::PathRequest resolve;
  resolve.path = *inside;
  auto found = (*link)->Ask(idl::kResolve, resolve);
  if (!found.ok()) return Complain(table, AboutPath(path, found.status()));
  idl::InodeRequest request;
  request.inode = found->attributes.inode;
  auto located = (*link)->Ask(idl::kLocate, request);
  if (!located.ok()) return Complain(table, located.status().Prefixed(path));
  if (choice.json) {
    fmt::print("{}\n", JsonText(ToJson(path, *located)));
  } else {
    PrintWords(path, *located);
  }
  return 0;
}

}  // namespace moraine::tools
