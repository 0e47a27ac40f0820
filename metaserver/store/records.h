// The metaserver's stored values as plain structs, and their bytes (RECORDS.md, section "Values").
//
// Every value begins with a version byte. Decode gives kCorruption for anything that Encode could
// not have written, and for a version newer than this program knows. Persisted enums have explicit
// numbers, the same as on the wire where a wire type exists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace moraine::metaserver {

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,
};

// A chunk that a file's present writer may append to or map.
//   kTail   the open end of the file: its bytes follow tail_offset without further word
//   kLoose  mapped by explicit extents
// (2 was a chunk asked for ahead of time; no release has written one.)
enum class AttachKind : uint8_t { kTail = 1, kLoose = 3 };
struct AttachedChunk {
  ChunkId chunk;
  AttachKind kind = AttachKind::kLoose;
  uint64_t tail_offset = 0;  // of a tail
  auto operator<=>(const AttachedChunk&) const = default;
};

struct InodeRecord {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // permission, set-id and sticky bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;
  uint64_t links = 0;  // 0: an orphan, kept while somebody has it open
  uint64_t size = 0;   // without the open tail; of a directory: the number of its entries
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t version = 0;       // grows with every change
  uint64_t stored_bytes = 0;  // in extents
  // Of a directory: the one it is in. Of anything else: the directory whose token governs it,
  // that is, the one of its first link; none after that name has gone while others remain.
  InodeId parent;
  std::string policy;  // of a regular file: decided at creation
  std::string symlink_target;
  std::string inline_data;              // the content of a small file; then there are no extents
  std::vector<AttachedChunk> attached;  // not empty only while a lease exists
  // What the extents take in an answer (namespace/file_map.h); none: not counted yet.
  std::optional<uint64_t> layout_bytes;
  // How often written bytes were lost because they were not synced; writers who knew fewer are
  // refused (namespace/losses.h). Then the layout is counted.
  uint32_t losses = 0;

  std::string Encode() const;
  static Result<InodeRecord> Decode(std::string_view bytes);
  bool operator==(const InodeRecord&) const = default;
};

struct DentryRecord {
  InodeId inode;
  FileType type = FileType::kRegular;

  std::string Encode() const;
  static Result<DentryRecord> Decode(std::string_view bytes);
  bool operator==(const DentryRecord&) const = default;
};

// Keyed by (inode, file offset).
struct ExtentRecord {
  uint64_t length = 0;
  ChunkId chunk;
  uint64_t chunk_offset = 0;

  std::string Encode() const;
  static Result<ExtentRecord> Decode(std::string_view bytes);
  bool operator==(const ExtentRecord&) const = default;
};

struct PolicyRecord {
  std::string name;
  uint32_t replicas = 0;  // n
  uint32_t quorum = 0;    // w
  uint32_t floor = 0;     // fewest replicas that a chunk may be made on

  std::string Encode() const;
  static Result<PolicyRecord> Decode(std::string_view bytes);
  bool operator==(const PolicyRecord&) const = default;
};

// The states of protocol/chunk_record.h; the numbers of the wire where it has them.
enum class ChunkState : uint8_t {
  kOpen = 1,
  kSealed = 2,
  kFencing = 3,
  kDeleting = 4,
  kClosed = 5,  // left by its writer at `length`, not yet known to be on disk
};

//   kGood     open: given to the writer; closed: said by it to hold every byte; sealed: has them
//             on disk
//   kLagging  closed or sealed, and not known to be good
//   kMissing  its server is dead or said that it has lost or damaged it
enum class ReplicaState : uint8_t { kGood = 1, kLagging = 2, kMissing = 3 };
struct ReplicaRecord {
  ServerId server;
  ReplicaState state = ReplicaState::kGood;
  // The server's process when the chunk was made: if it is another now, unsynced bytes may be gone.
  // 0 once the chunk is sealed.
  uint64_t start_id = 0;
  auto operator<=>(const ReplicaRecord&) const = default;
};

struct ChunkRecord {
  ChunkState state = ChunkState::kOpen;
  Epoch epoch;
  PolicyRecord policy;
  uint32_t made = 0;        // replicas it was made on
  uint64_t length = 0;      // closed, sealed: exact; open, fencing: the most it may become
  uint64_t mapped = 0;      // before it is sealed: the highest byte that an extent has named
  uint64_t references = 0;  // extents that name it
  InodeId inode;            // whose writer asked for it
  // Of a stream's chunk that is mapped: where it begins. Of others a hint for people and fsck, or
  // kUnknownOffset (namespace/leases.h).
  uint64_t file_offset = 0;
  SessionId writer;
  // Until it is sealed: exactly those it was made on, in that order (the indices of protocol/).
  std::vector<ReplicaRecord> replicas;

  size_t GoodReplicas() const;
  const ReplicaRecord* FindReplica(ServerId server) const;
  ReplicaRecord* FindReplica(ServerId server);
  std::string Encode() const;
  static Result<ChunkRecord> Decode(std::string_view bytes);
  bool operator==(const ChunkRecord&) const = default;
};

// kDead: silent for longer than the repair grace; its replicas count as missing.
enum class ServerState : uint8_t { kLive = 1, kDead = 2 };
struct ServerRecord {
  std::string incarnation;
  std::string endpoint;
  std::string location;  // zone/rack/host
  ServerState state = ServerState::kLive;
  bool quarantined = false;
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t start_id = 0;

  std::string Encode() const;
  static Result<ServerRecord> Decode(std::string_view bytes);
  bool operator==(const ServerRecord&) const = default;
};

struct SessionRecord {
  std::string name;
  std::string kind;
  int64_t started_ns = 0;

  std::string Encode() const;
  static Result<SessionRecord> Decode(std::string_view bytes);
  bool operator==(const SessionRecord&) const = default;
};

// kRecovering: the writer has gone; nobody gets the lease before its chunks are sealed.
enum class LeaseState : uint8_t { kHeld = 1, kRecovering = 2 };
struct LeaseRecord {
  SessionId session;
  LeaseState state = LeaseState::kHeld;

  std::string Encode() const;
  static Result<LeaseRecord> Decode(std::string_view bytes);
  bool operator==(const LeaseRecord&) const = default;
};

struct TokenRecord {
  Token token;
  SessionId owner;  // none: released; the number stays
  std::string owner_name;

  std::string Encode() const;
  static Result<TokenRecord> Decode(std::string_view bytes);
  bool operator==(const TokenRecord&) const = default;
};

struct PolicyRule {
  std::string glob;
  std::string policy;
  bool operator==(const PolicyRule&) const = default;
};
struct RulesRecord {
  std::vector<PolicyRule> rules;  // the first that matches decides

  std::string Encode() const;
  static Result<RulesRecord> Decode(std::string_view bytes);
  bool operator==(const RulesRecord&) const = default;
};

// Ids below these have been or may have been given out. Reserved in blocks, durably, before use,
// so that a power cut which takes unsynced names never makes an id appear twice.
struct ReservedIds {
  uint64_t inode = 0;
  uint64_t chunk = 0;
  uint64_t session = 0;
  uint64_t server = 0;

  std::string Encode() const;
  static Result<ReservedIds> Decode(std::string_view bytes);
  bool operator==(const ReservedIds&) const = default;
};

// Kept up to date by every transaction; also used as the change that a transaction makes.
struct Counters {
  int64_t inodes = 0;
  int64_t chunks = 0;  // all but deleting ones
  int64_t open_chunks = 0;
  int64_t under_replicated_chunks = 0;
  int64_t lost_chunks = 0;
  int64_t deleting_chunks = 0;
  int64_t user_bytes = 0;    // of sealed chunks
  int64_t stored_bytes = 0;  // over good replicas of sealed chunks

  Counters& operator+=(const Counters& other);
  bool IsZero() const { return *this == Counters(); }
  std::string Encode() const;
  static Result<Counters> Decode(std::string_view bytes);
  bool operator==(const Counters&) const = default;
};

// The version byte of values, and of those with a field more.
inline constexpr uint8_t kRecordVersion = 1;
inline constexpr uint8_t kCountedInodeVersion = 2;
inline constexpr uint8_t kLossyInodeVersion = 3;
// Of the whole directory, in the system family.
inline constexpr uint64_t kFormatVersion = 1;

}  // namespace moraine::metaserver
