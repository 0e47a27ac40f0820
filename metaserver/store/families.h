// The column families of the metaserver's RocksDB and the keys in them. RECORDS.md is the page
// about both; names, prefixes and byte orders here are part of the stored format.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace moraine::metaserver {

enum class Family : uint8_t {
  kSystem = 0,  // RocksDB's "default"
  kInodes,
  kDentries,
  kExtents,
  kChunks,
  kChunksByServer,
  kServers,
  kSessions,
  kAnswers,
  kLeases,
  kTokens,
  kOrphans,
  kPolicies,
  kRules,
  kXattrs,
  kQueues,
};

inline constexpr std::array<std::string_view, 16> kFamilyNames = {
    "default",  "inodes",   "dentries", "extents", "chunks", "chunks_by_server",
    "servers",  "sessions", "answers",  "leases",  "tokens", "orphans",
    "policies", "rules",    "xattrs",   "queues"};

// Section "Keys" of RECORDS.md. Numbers are big-endian, so that keys sort as numbers.
std::string InodeKey(InodeId inode);
std::string DentryKey(InodeId parent, std::string_view name);
std::string ExtentKey(InodeId inode, uint64_t file_offset);
std::string ChunkKey(ChunkId chunk);
std::string ServerChunkKey(ServerId server, ChunkId chunk);
std::string ServerKey(ServerId server);
std::string IncarnationKey(std::string_view incarnation);
std::string SessionKey(SessionId session);
std::string AnswerKey(SessionId session, uint64_t sequence);
std::string XattrKey(InodeId inode, std::string_view name);
// Leases and tokens: by inode, and the inodes of a session.
std::string HoldingKey(InodeId inode);
std::string HoldingOfSessionKey(SessionId session, InodeId inode);
std::string HoldingsOfSessionPrefix(SessionId session);
// Queues: replicas to delete by server; sealed chunks with too few copies, fewest first; sealed
// chunks whose replicas have not all been told.
std::string DeletionKey(ServerId server, ChunkId chunk);
std::string DeletionPrefix(ServerId server);
std::string RepairKey(uint8_t good_copies, ChunkId chunk);
std::string SettleKey(ChunkId chunk);
// Replicas that a server has reported and no record names.
std::string UnknownKey(ServerId server, ChunkId chunk);
inline constexpr std::string_view kHoldingPrefix = "i";
inline constexpr std::string_view kServerPrefix = "s";
inline constexpr std::string_view kRepairPrefix = "r";
inline constexpr std::string_view kSettlePrefix = "f";
inline constexpr std::string_view kDeletionsPrefix = "d";
inline constexpr std::string_view kUnknownPrefix = "u";

// The number at `offset` of a key; 0 if the key is too short.
uint64_t NumberInKey(std::string_view key, size_t offset);

// Keys of the system family.
inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kClusterKey = "cluster";
inline constexpr std::string_view kReservedIdsKey = "ids";
inline constexpr std::string_view kCountersKey = "counters";

}  // namespace moraine::metaserver
