// What every service shares. Rules for change: see PROTOCOL.md, section "Evolution".
namespace cpp moraine.idl
namespace py moraine.common

const i32 kProtocolVersion = 1
const i32 kProtocolVersionOldest = 1  // the oldest peer that is still understood

enum Role { kClient = 1, kChunkserver = 2, kMetaserver = 3, kTool = 4 }

// First call on every connection; nothing else is answered before it.
struct HandshakeRequest {
  1: i32 version
  2: Role role
  3: string cluster       // empty: not known yet (a new client or an empty server)
  4: string name          // who is calling, for logs
  5: i64 server_id = 0    // a chunkserver's own id
  6: i64 expect_server_id = 0  // refuse me if you are not this chunkserver
}
struct HandshakeResponse {
  1: i32 version
  2: Role role
  3: string cluster
  4: string name
  5: i64 server_id = 0
}

// Goes with every call.
struct RequestHeader {
  1: i64 session = 0
  2: i64 sequence = 0            // of a change: the same number again is the same change again
  3: i64 acknowledged_below = 0  // answers to smaller numbers need not be remembered
  4: i32 timeout_ms = 0          // what the caller will still wait; 0 means the server's default
  5: i32 bulk_bytes = 0          // raw bytes that follow this frame
  6: i32 bulk_alignment = 0      // where in a 4 KiB block they begin
  7: i64 trace = 0               // ties log lines of one operation together
  // Answers to numbers below this need not be remembered either, but for those of `waiting`, which
  // rise and are smaller.
  8: optional i64 over_below
  9: optional list<i64> waiting
}

// Every error of every call. `code` is moraine::Code (base/status.h).
exception CallError {
  1: i32 code
  2: string message
}

struct Policy {
  1: string name
  2: i32 replicas  // n
  3: i32 quorum    // w
  4: i32 floor     // fewest replicas that a new chunk may be made on
}

struct Replica {
  1: i64 server_id
  2: string endpoint  // host:port
}

enum ChunkState { kOpen = 1, kSealed = 2, kFencing = 3, kDeleting = 4 }
