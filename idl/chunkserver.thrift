include "common.thrift"
namespace cpp moraine.idl
namespace py moraine.chunkserver

// What a replica is made from; goes with appends until the first one is acknowledged.
struct ReplicaCreation {
  1: i64 inode
  2: i64 file_offset
  3: common.Policy policy
  4: i32 replicas_made  // on how many servers this chunk is made
}

// Bulk: the appended bytes. `checksums`: XXH3-64, little endian, of every piece between multiples of
// 4 KiB of the chunk. Zero bytes with sync: syncs what is held.
struct AppendRequest {
  1: i64 chunk
  2: i64 epoch
  3: i64 offset
  4: binary checksums
  5: bool sync = false
  6: i64 committed = 0
  7: optional ReplicaCreation create
}
struct AppendResponse {
  1: i64 held    // bytes of the chunk this replica has
  2: i64 synced  // of those, on disk
}

// Bulk of the answer: the bytes from the block boundary at or below `offset` to the block boundary
// at or above the end (cut at the visible length), with one checksum per block piece.
struct ReadRequest {
  1: i64 chunk
  2: i64 offset
  3: i32 length
  4: i64 committed = 0  // of an open chunk: held by the policy's quorum, as the reader has learned
}
struct ReadResponse {
  1: i64 offset      // of the first byte sent
  2: binary checksums
  3: i64 visible     // how far a reader may see now
  4: bool sealed = false
}

struct ReplicaInfo {
  1: i64 chunk
  2: i64 epoch
  3: common.ChunkState state  // kOpen or kSealed
  4: i64 held
  5: i64 synced
  6: i64 committed
  7: bool restarted = false  // has been through a restart since it was made
  8: bool damaged = false
  9: i64 inode = 0
  10: i64 file_offset = 0
}
struct StatReplicaRequest { 1: i64 chunk }
struct FenceRequest { 1: i64 chunk, 2: i64 epoch }
// With `hold_only` it is protocol::AppendReplica::Hold: the replica promises to have `length` bytes on
// disk and stays open, so that a later recovery may still decide otherwise; else Seal.
struct SealRequest { 1: i64 chunk, 2: i64 epoch, 3: i64 length, 4: bool hold_only = false }
// The called server fetches the replica's bytes [its own length, length) from `sources`, tried in order.
// With `whole` it makes a new sealed replica; else it brings an open, fenced replica up to `length`.
struct CopyRequest {
  1: i64 chunk
  2: i64 epoch
  3: i64 length
  4: list<common.Replica> sources
  5: bool whole = false
  6: ReplicaCreation create
}
// Only a metaserver may call it, and only with the epoch it knows: a newer replica stays.
struct DeleteReplicaRequest { 1: i64 chunk, 2: i64 epoch }
struct Nothing {}

struct ListReplicasRequest { 1: i64 after_chunk, 2: i32 limit }
struct ListReplicasResponse { 1: list<ReplicaInfo> replicas, 2: bool more }

struct StoreStatus {
  1: i64 server_id
  2: i64 total_bytes
  3: i64 free_bytes
  4: i64 replicas
  5: i64 open_replicas
  6: bool quarantined = false
  7: i64 journal_bytes = 0
  8: i64 journal_used_bytes = 0
}

service Chunkserver {
  common.HandshakeResponse handshake(1: common.RequestHeader header, 2: common.HandshakeRequest request) throws (1: common.CallError error)
  AppendResponse append(1: common.RequestHeader header, 2: AppendRequest request) throws (1: common.CallError error)
  ReadResponse read(1: common.RequestHeader header, 2: ReadRequest request) throws (1: common.CallError error)
  ReplicaInfo statReplica(1: common.RequestHeader header, 2: StatReplicaRequest request) throws (1: common.CallError error)
  ReplicaInfo fence(1: common.RequestHeader header, 2: FenceRequest request) throws (1: common.CallError error)
  ReplicaInfo seal(1: common.RequestHeader header, 2: SealRequest request) throws (1: common.CallError error)
  ReplicaInfo copy(1: common.RequestHeader header, 2: CopyRequest request) throws (1: common.CallError error)
  Nothing deleteReplica(1: common.RequestHeader header, 2: DeleteReplicaRequest request) throws (1: common.CallError error)
  ListReplicasResponse listReplicas(1: common.RequestHeader header, 2: ListReplicasRequest request) throws (1: common.CallError error)
  StoreStatus storeStatus(1: common.RequestHeader header, 2: Nothing request) throws (1: common.CallError error)
}
