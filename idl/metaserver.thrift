include "common.thrift"
namespace cpp moraine.idl
namespace py moraine.metaserver

enum FileType { kRegular = 1, kDirectory = 2, kSymlink = 3, kFifo = 4, kSocket = 5, kCharDevice = 6, kBlockDevice = 7 }

struct Attributes {
  1: i64 inode
  2: FileType type
  3: i32 mode        // permission bits, with set-id and sticky bits
  4: i32 uid
  5: i32 gid
  6: i64 links
  7: i64 size        // without the open tail chunk (see Layout)
  8: i64 atime_ns
  9: i64 mtime_ns
  10: i64 ctime_ns
  11: i32 rdev = 0
  12: i64 version = 0  // grows with every change of the inode's data or attributes
  13: i64 stored_bytes = 0  // user bytes in extents (for st_blocks)
  14: bool open_tail = false  // its last chunk is open: the size is at least `size`
  15: i32 losses = 0  // how often written bytes that were not synced were lost with their servers
}

// The file's bytes [file_offset, +length) are the chunk's [chunk_offset, +length).
struct Extent {
  1: i64 file_offset
  2: i64 length
  3: i64 chunk
  4: i64 chunk_offset
}
struct ChunkPlace {
  1: i64 chunk
  2: i64 epoch
  3: common.ChunkState state
  4: i64 length  // sealed: exact; open: known so far
  5: list<common.Replica> replicas
  6: common.Policy policy
}
// A chunk to write into. With `tail`, every byte appended to it is the file's byte at
// tail_offset + chunk offset, without further word to the metaserver; else extents say so.
struct ChunkGrant {
  1: i64 chunk
  2: i64 epoch
  3: list<common.Replica> replicas
  4: common.Policy policy
  5: bool tail = false
  6: i64 tail_offset = 0
}
struct Layout {
  1: list<Extent> extents      // in order, not overlapping; gaps are holes
  2: list<ChunkPlace> chunks   // every chunk named by extents and tail
  3: optional ChunkGrant tail  // the open tail chunk
  4: optional binary inline_data  // the whole content of a small file; then no extents
}

// ---- Sessions
struct StartSessionRequest { 1: string name, 2: string kind }
struct StartSessionResponse { 1: i64 session, 2: i64 ttl_ms, 3: string cluster }
// `held`: write leases and owned directories that the client believes to hold; `open`: inodes it has open.
struct RenewSessionRequest { 1: list<i64> held, 2: list<i64> open }
struct RenewSessionResponse {
  1: i64 ttl_ms
  2: list<i64> recalled     // leases to flush and give back now
  3: list<i64> lost         // leases and tokens that are another's already
  4: list<i64> stale        // inodes whose cached attributes or names another session has changed
}

// ---- Names
struct EntryRequest { 1: i64 parent, 2: string name }
struct InodeRequest { 1: i64 inode }
struct PathRequest { 1: string path }
struct SyncMetadataResponse { 1: optional Attributes attributes }  // unless the inode is gone
struct AttributesResponse { 1: Attributes attributes, 2: optional string symlink_target }
struct CreateRequest {
  1: i64 parent
  2: string name
  3: FileType type
  4: i32 mode
  5: i32 uid
  6: i32 gid
  7: i32 rdev = 0
  8: string symlink_target
  9: bool exclusive = true   // false: an existing regular file is opened instead
  10: i64 token = 0          // of the owned directory that holds parent
  11: bool open_for_write = false  // grants the write lease of a new file with the answer
  12: bool want_chunk = false      // and the first tail chunk
  13: string policy          // by name; empty: the directory's rules decide
}
struct CreateResponse { 1: Attributes attributes, 2: bool created, 3: optional ChunkGrant chunk, 4: Layout layout }
struct RemoveRequest { 1: i64 parent, 2: string name, 3: bool directory = false, 4: i64 token = 0 }
struct RemoveResponse { 1: i64 inode, 2: i64 links }
enum RenameMode { kReplace = 0, kNoReplace = 1, kExchange = 2 }
struct RenameRequest {
  1: i64 parent
  2: string name
  3: i64 new_parent
  4: string new_name
  5: RenameMode mode = 0
  6: i64 token = 0
  7: i64 new_token = 0
}
struct RenameResponse { 1: i64 inode, 2: i64 replaced_inode = 0 }
struct LinkRequest { 1: i64 inode, 2: i64 new_parent, 3: string new_name, 4: i64 token = 0 }
struct DirectoryEntry { 1: string name, 2: i64 inode, 3: FileType type, 4: optional Attributes attributes }
struct ReadDirectoryRequest { 1: i64 inode, 2: string after, 3: i32 limit, 4: bool with_attributes = false }
struct ReadDirectoryResponse { 1: list<DirectoryEntry> entries, 2: bool more, 3: i64 parent }

// ---- Files
struct SetAttributesRequest {
  1: i64 inode
  2: optional i32 mode
  3: optional i32 uid
  4: optional i32 gid
  5: optional i64 size      // truncates or grows; the caller holds the write lease
  6: optional i64 atime_ns
  7: optional i64 mtime_ns
  8: i64 token = 0
  9: optional i32 losses    // with a size: as in CommitRequest
}
struct OpenRequest { 1: i64 inode, 2: bool for_writing = false, 3: bool truncate = false, 4: i64 token = 0 }
// leased: whether the session has the write lease, also when it asks for reading.
struct OpenResponse { 1: Attributes attributes, 2: Layout layout, 3: bool leased = false }
// Gives up the session's handle, or with release_lease its write lease; handles may stay then, and
// the renewals tell when the last one is closed. Without it a lease stays: the session may have
// opened the inode to write on the way.
struct ClosedFile { 1: i64 inode, 2: bool release_lease = false }
// All of them in one transaction.
struct CloseRequest { 1: list<ClosedFile> files }
struct SealedChunk { 1: i64 chunk, 2: i64 epoch, 3: i64 length, 4: list<i64> holders }
// One transaction: seals, maps extents (older ones underneath are cut), sets size and times.
struct CommitRequest {
  1: i64 inode
  2: list<Extent> extents
  3: optional i64 size
  4: optional i64 mtime_ns
  5: optional binary inline_data
  6: list<SealedChunk> seals
  7: bool sync = false       // on disk before the answer (chunk records always are)
  8: i64 token = 0
  9: optional i32 losses     // that the writer knows of: kIo when there were others meanwhile
}
struct CommitResponse { 1: Attributes attributes }
// Seals `previous` (if given) and grants the next chunk, in one transaction.
struct AllocateChunkRequest {
  1: i64 inode
  2: bool tail = false
  3: i64 tail_offset = 0
  4: optional SealedChunk previous
  5: list<i64> avoid_servers
  6: i64 token = 0
  // 7 was the tail asked for ahead of time
  8: optional i32 losses  // as in CommitRequest
}
struct AllocateChunkResponse { 1: ChunkGrant chunk }
// Seals a chunk that its writer has closed, or fences and seals an open one whose writer is gone
// (kBusy while its writer's lease lives, also to the writer); answers when SEALED is recorded and at least the policy's
// floor of replicas have all of it on disk.
struct RecoverChunkRequest { 1: i64 chunk }
struct RecoverChunkResponse { 1: i64 length }
struct LayoutResponse { 1: Attributes attributes, 2: Layout layout }
struct ReportReplicaRequest { 1: i64 chunk, 2: i64 server_id, 3: i32 code, 4: string detail }

// ---- Directory tokens
// kTimeout: the token is taken, its files are still being recovered; the same call again goes on.
// After any other error the directory is not owned by the caller (kTooLarge: too many files).
struct AcquireDirectoryRequest { 1: i64 inode, 2: string owner, 3: bool steal = true }
struct OwnedEntry { 1: string name, 2: Attributes attributes, 3: Layout layout }
struct AcquireDirectoryResponse { 1: i64 token, 2: Attributes attributes, 3: list<OwnedEntry> entries, 4: i64 metadata_bytes }
struct ReleaseDirectoryRequest { 1: i64 inode, 2: i64 token }

// ---- Extended attributes
struct GetXattrRequest { 1: i64 inode, 2: string name }
struct GetXattrResponse { 1: binary value }
struct SetXattrRequest { 1: i64 inode, 2: string name, 3: binary value, 4: bool create_only = false, 5: bool replace_only = false, 6: i64 token = 0 }
struct RemoveXattrRequest { 1: i64 inode, 2: string name, 3: i64 token = 0 }
struct ListXattrsResponse { 1: list<string> names }

// ---- Policies and the cluster
struct PolicyRule { 1: string glob, 2: string policy }
struct SetPolicyRequest { 1: common.Policy policy }
struct ListPoliciesResponse { 1: list<common.Policy> policies }
// Replaces the rules of one directory; an empty list lets it inherit again.
struct SetRulesRequest { 1: i64 inode, 2: list<PolicyRule> rules }
struct RulesResponse { 1: list<PolicyRule> rules, 2: i64 from_inode, 3: string from_path }
struct ServerStatus {
  1: i64 server_id
  2: string endpoint
  3: string location       // zone/rack/host
  4: bool alive
  5: i64 silent_ms
  6: i64 total_bytes
  7: i64 free_bytes
  8: i64 chunks
  9: bool quarantined = false
}
struct ClusterStatus {
  1: string cluster
  2: list<ServerStatus> servers
  3: i64 inodes
  4: i64 chunks
  5: i64 open_chunks
  6: i64 under_replicated_chunks
  7: i64 lost_chunks
  8: i64 sessions
  9: i64 user_bytes     // of sealed chunks
  10: i64 stored_bytes  // over all good replicas
  11: i64 deleting_chunks
  12: i64 uptime_ms
}
enum ReplicaState { kGood = 1, kStale = 2, kMissing = 3 }
struct LocatedReplica { 1: i64 server_id, 2: string endpoint, 3: ReplicaState state }
struct LocatedChunk { 1: i64 chunk, 2: common.ChunkState state, 3: i64 length, 4: i64 file_offset, 5: list<LocatedReplica> replicas }
struct LocateResponse {
  1: Attributes attributes
  2: common.Policy policy
  3: list<LocatedChunk> chunks
  4: bool inline_data = false
}
struct FileSystemStatus { 1: i64 total_bytes, 2: i64 free_bytes, 3: i64 inodes }

// ---- Chunkservers
struct RegisterRequest {
  1: i64 server_id          // 0 at the first time
  2: string incarnation     // of the store's superblock: a wiped disk has another
  3: string endpoint
  4: string location
  5: i64 total_bytes
  6: i64 free_bytes
  7: i64 start_id           // random at each start of the process
}
struct RegisterResponse { 1: i64 server_id, 2: string cluster, 3: bool want_inventory }
struct ReplicaReport {
  1: i64 chunk
  2: i64 epoch
  3: common.ChunkState state
  4: i64 length
  5: bool damaged = false
}
// All replicas of a server in pages ordered by chunk; `first`/`last` delimit the page so that what
// is missing inside it is known to be missing.
struct InventoryRequest { 1: i64 server_id, 2: i64 after_chunk, 3: i64 up_to_chunk, 4: list<ReplicaReport> replicas }
// `unknown`: to be deleted at once. The metaserver names none: what it does not know, it keeps for a
// long while, and then deletes by the ordinary call.
// `again`: chunks that were busy, so that their reports could not be taken: to be told once more with
// the next heartbeat.
struct InventoryResponse { 1: list<i64> unknown, 2: optional list<i64> again }
struct HeartbeatRequest {
  1: i64 server_id
  2: i64 start_id
  3: i64 total_bytes
  4: i64 free_bytes
  5: list<ReplicaReport> changed  // since the last acknowledged heartbeat
  6: list<i64> gone
  7: bool quarantined = false
}
struct HeartbeatResponse { 1: bool register_again = false, 2: optional list<i64> again }

struct Empty {}

service Sessions {
  common.HandshakeResponse handshake(1: common.RequestHeader header, 2: common.HandshakeRequest request) throws (1: common.CallError error)
  StartSessionResponse startSession(1: common.RequestHeader header, 2: StartSessionRequest request) throws (1: common.CallError error)
  RenewSessionResponse renewSession(1: common.RequestHeader header, 2: RenewSessionRequest request) throws (1: common.CallError error)
  Empty endSession(1: common.RequestHeader header, 2: Empty request) throws (1: common.CallError error)
}
service Namespace {
  AttributesResponse lookup(1: common.RequestHeader header, 2: EntryRequest request) throws (1: common.CallError error)
  AttributesResponse resolve(1: common.RequestHeader header, 2: PathRequest request) throws (1: common.CallError error)
  AttributesResponse getAttributes(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
  AttributesResponse setAttributes(1: common.RequestHeader header, 2: SetAttributesRequest request) throws (1: common.CallError error)
  CreateResponse create(1: common.RequestHeader header, 2: CreateRequest request) throws (1: common.CallError error)
  RemoveResponse remove(1: common.RequestHeader header, 2: RemoveRequest request) throws (1: common.CallError error)
  RenameResponse rename(1: common.RequestHeader header, 2: RenameRequest request) throws (1: common.CallError error)
  AttributesResponse link(1: common.RequestHeader header, 2: LinkRequest request) throws (1: common.CallError error)
  ReadDirectoryResponse readDirectory(1: common.RequestHeader header, 2: ReadDirectoryRequest request) throws (1: common.CallError error)
  // Waits until the inode's closed chunks are sealed (kTimeout: they are not yet), then for the log.
  SyncMetadataResponse syncMetadata(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
}
service Files {
  OpenResponse open(1: common.RequestHeader header, 2: OpenRequest request) throws (1: common.CallError error)
  Empty close(1: common.RequestHeader header, 2: CloseRequest request) throws (1: common.CallError error)
  CommitResponse commit(1: common.RequestHeader header, 2: CommitRequest request) throws (1: common.CallError error)
  AllocateChunkResponse allocateChunk(1: common.RequestHeader header, 2: AllocateChunkRequest request) throws (1: common.CallError error)
  RecoverChunkResponse recoverChunk(1: common.RequestHeader header, 2: RecoverChunkRequest request) throws (1: common.CallError error)
  LayoutResponse getLayout(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
  Empty reportReplica(1: common.RequestHeader header, 2: ReportReplicaRequest request) throws (1: common.CallError error)
  AcquireDirectoryResponse acquireDirectory(1: common.RequestHeader header, 2: AcquireDirectoryRequest request) throws (1: common.CallError error)
  Empty releaseDirectory(1: common.RequestHeader header, 2: ReleaseDirectoryRequest request) throws (1: common.CallError error)
}
service ExtendedAttributes {
  GetXattrResponse getXattr(1: common.RequestHeader header, 2: GetXattrRequest request) throws (1: common.CallError error)
  Empty setXattr(1: common.RequestHeader header, 2: SetXattrRequest request) throws (1: common.CallError error)
  Empty removeXattr(1: common.RequestHeader header, 2: RemoveXattrRequest request) throws (1: common.CallError error)
  ListXattrsResponse listXattrs(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
}
service Administration {
  common.HandshakeResponse handshake(1: common.RequestHeader header, 2: common.HandshakeRequest request) throws (1: common.CallError error)
  ClusterStatus clusterStatus(1: common.RequestHeader header, 2: Empty request) throws (1: common.CallError error)
  LocateResponse locate(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
  FileSystemStatus fileSystemStatus(1: common.RequestHeader header, 2: Empty request) throws (1: common.CallError error)
  Empty setPolicy(1: common.RequestHeader header, 2: SetPolicyRequest request) throws (1: common.CallError error)
  ListPoliciesResponse listPolicies(1: common.RequestHeader header, 2: Empty request) throws (1: common.CallError error)
  Empty setRules(1: common.RequestHeader header, 2: SetRulesRequest request) throws (1: common.CallError error)
  RulesResponse getRules(1: common.RequestHeader header, 2: InodeRequest request) throws (1: common.CallError error)
}
service Registry {
  RegisterResponse registerChunkserver(1: common.RequestHeader header, 2: RegisterRequest request) throws (1: common.CallError error)
  InventoryResponse inventory(1: common.RequestHeader header, 2: InventoryRequest request) throws (1: common.CallError error)
  HeartbeatResponse heartbeat(1: common.RequestHeader header, 2: HeartbeatRequest request) throws (1: common.CallError error)
}
