// Every bound of the system in one place, and the relations between them.
// Options (each process's options.cc) may be set within these; nothing may pass them.
#pragma once

#include <chrono>
#include <cstdint>

namespace moraine::limits {

using namespace std::chrono_literals;

// Data.
inline constexpr uint64_t kBlockBytes = 4096;            // unit of checksums
inline constexpr uint64_t kChunkBytesMax = 64ULL << 20;  // of appended bytes
inline constexpr uint64_t kAppendBytesMax = 4ULL << 20;  // one append call
inline constexpr uint64_t kReadBytesMax = 4ULL << 20;    // one read call
inline constexpr uint64_t kJournalAppendBytesMax = 64ULL
                                                   << 10;  // larger synced appends go to the file
inline constexpr uint64_t kInlineBytesMax = 4096;          // a file held in its inode record
inline constexpr uint64_t kFileBytesMax = 1ULL << 50;
// A file's layout must fit into one answer. What its extents and the places of their chunks take is
// estimated from above (for servers with endpoints of up to some 50 bytes); a file that takes more
// is not cut into further pieces, except by what its writer has already.
inline constexpr uint64_t kLayoutBytesMax = 7ULL << 20;
inline constexpr uint64_t kExtentWireBytes = 32;
inline constexpr uint64_t kPlaceWireBytes = 48;  // of one chunk, besides its replicas
inline constexpr uint64_t kReplicaWireBytes = 64;
inline constexpr int kChunksAttachedMax = 64;                 // of one file, open or not yet mapped
inline constexpr uint64_t kIdleBufferBytesMax = 64ULL << 20;  // kept for reuse, per process

// Names.
inline constexpr uint64_t kNameBytesMax = 255;
inline constexpr uint64_t kPathBytesMax = 4095;
inline constexpr uint64_t kXattrNameBytesMax = 255;
inline constexpr uint64_t kXattrValueBytesMax = 64 << 10;
inline constexpr uint64_t kXattrsPerInodeMax = 64;
inline constexpr uint32_t kLinksMax = 65000;
inline constexpr uint64_t kListingNamesKept = 1 << 20;  // per open directory of a mount, to seek in

// Policies.
inline constexpr int kReplicasMax = 9;

// Calls.
inline constexpr uint64_t kFrameBytesMax = 8ULL << 20;  // Thrift part of a message
inline constexpr uint64_t kBulkBytesMax = 8ULL << 20;   // raw bytes behind a frame
inline constexpr int kCallsPerConnectionMax = 1024;     // in flight
inline constexpr int kConnectionsMax = 4096;
inline constexpr uint64_t kServerBulkBytesMax = 512ULL << 20;   // in flight in one server
inline constexpr uint64_t kPeerBulkBytesMax = 64ULL << 20;      // of those, of one connection
inline constexpr uint64_t kServerFrameBytesMax = 128ULL << 20;  // of large frames, in one server
inline constexpr uint64_t kSmallFrameBytes = 16ULL << 10;       // not counted; a handshake's bound
inline constexpr uint64_t kListItemsMax = 1ULL << 19;           // of one list inside a frame
inline constexpr uint64_t kReadAheadBytes = 64ULL << 10;     // small frames arrive many at a time
inline constexpr uint64_t kWriteBatchBytesMax = 4ULL << 20;  // of one system call
inline constexpr uint64_t kQueuedBytesMax = 32ULL << 20;     // of one connection; then senders wait
inline constexpr uint64_t kUnreadBytesMax = 256ULL << 20;    // then such a peer is left
inline constexpr auto kHandshakeTimeout = 5s;
inline constexpr auto kAcceptRetryDelay = 100ms;  // after a failed accept
inline constexpr auto kFarewellTimeout = 1s;      // for the error that ends a connection to arrive
inline constexpr auto kSilenceMax =
    3s;  // with a call unanswered so long, one out of time breaks it
inline constexpr auto kFrameTimeout = 30s;          // a begun frame must be complete
inline constexpr auto kPeerGone = 30s;              // no sign of life for so long ends a connection
inline constexpr auto kKeepAliveIdle = 10s;         // an idle peer is asked for one, then
inline constexpr auto kKeepAliveInterval = 5s;      // so often,
inline constexpr int kKeepAliveProbes = 4;          // so many times
inline constexpr int kRememberedAnswersMax = 1024;  // per session
inline constexpr int kSlowChangesMax = 128;         // of a session, that hold up no other change
inline constexpr size_t kClosesAtOnceMax = 64;      // files that one call closes

// Time.
inline constexpr auto kHeartbeatInterval = 1s;
// A chunkserver is not given up for being silent between two heartbeats: its replicas would be made
// anew for ever.
inline constexpr auto kRepairGraceMin = 2 * kHeartbeatInterval;
inline constexpr auto kAppendStallMax = 1s;  // a replica slower than this is left behind

static_assert(kChunkBytesMax % kBlockBytes == 0);
static_assert(kAppendBytesMax <= kBulkBytesMax && kReadBytesMax <= kBulkBytesMax);
static_assert(kAppendBytesMax <= kChunkBytesMax);
static_assert(kJournalAppendBytesMax <= kAppendBytesMax);
static_assert(kInlineBytesMax <= kFrameBytesMax);
static_assert(kLayoutBytesMax + kInlineBytesMax +
                  kChunksAttachedMax *
                      (kExtentWireBytes + kPlaceWireBytes + kReplicasMax * kReplicaWireBytes) +
                  kSmallFrameBytes <=
              kFrameBytesMax);
static_assert(kXattrValueBytesMax * kXattrsPerInodeMax <= kFrameBytesMax);
static_assert(kSlowChangesMax <= kRememberedAnswersMax / 4);
static_assert(kKeepAliveIdle + kKeepAliveProbes * kKeepAliveInterval <= kPeerGone);
static_assert(kPeerGone >= kFrameTimeout && kPeerGone > kSilenceMax);
static_assert(kServerBulkBytesMax >= 8 * kBulkBytesMax);
static_assert(kPeerBulkBytesMax >= 2 * kBulkBytesMax && kPeerBulkBytesMax <= kServerBulkBytesMax);
static_assert(kServerFrameBytesMax >= 2 * kFrameBytesMax);
static_assert(kUnreadBytesMax >= kQueuedBytesMax + kPeerBulkBytesMax + kFrameBytesMax);

}  // namespace moraine::limits
