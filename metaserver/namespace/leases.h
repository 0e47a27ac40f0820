// Write leases and the chunks that their holders write: who may write a file, and what happens to
// open chunks when the writer leaves.
//
// A lease record exists for every file with attached chunks. kHeld becomes kRecovering when the
// writer leaves with open chunks; then nobody gets the lease before FinishRecovery. All of it is
// durable before the answer.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "metaserver/namespace/file_map.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

Result<std::optional<LeaseRecord>> FindLease(Transaction& transaction, InodeId inode);
// Whether the transaction's session writes the file.
Result<bool> HoldsLease(Transaction& transaction, InodeId inode);

// Gives the transaction's session the lease, if nobody else has it. kLeaseTaken otherwise; the
// effects then say whom to recall or what to recover. kSessionEnded without a session.
Status AcquireLease(Transaction& transaction, InodeId inode);
// Whether nobody but the transaction's session writes the file: kLeaseTaken otherwise, as above.
Status CheckNoOtherWriter(Transaction& transaction, InodeId inode);
// For whoever is to write: the token of the governing directory, then the lease, which is granted
// if it is free.
Status AdmitWriter(Transaction& transaction, InodeId inode, const InodeRecord& record, Token token);
// For every change by a writer: the token, then that the lease is its session's. Not granted here:
// the lease may have been another's meanwhile, and what this change was made for is then not what
// the file is now. kFenced if nobody has it.
Status CheckWriter(Transaction& transaction, InodeId inode, const InodeRecord& record, Token token);

// The writer leaves (closes, ends, or lost its directory): closed chunks are let go; open ones must
// be recovered (in the effects). Writes the inode's record.
Status ReleaseLease(Transaction& transaction, InodeId inode);
// The lease and its index entry, without looking at chunks: for inodes that are freed, and where
// its holder is known and the inode cannot be read.
Status EraseLease(Transaction& transaction, InodeId inode);
void EraseLease(Transaction& transaction, InodeId inode, SessionId holder);

struct ClosedChunk {
  ChunkId chunk;
  Epoch epoch;
  uint64_t length = 0;
  std::vector<ServerId> holders;
};
// A living writer leaves one of its chunks at `length`. A tail is mapped here; a loose one stays
// attached until its extents come. Empty chunks are deleted. Idempotent. Errors: kFenced (recovered
// meanwhile, or not this file's), kSealed, kInvalidArgument (also for a tail that does not have all
// of the file's inline content).
Status CloseAttached(Transaction& transaction, InodeId inode, InodeRecord& record,
                     const ClosedChunk& closed);

// The attached chunks that must be fenced and sealed before the file is whole: all that its writer
// has left behind; of one who holds the lease only the tail, and it goes on in its loose chunks.
Result<std::vector<ChunkId>> ChunksToRecover(Transaction& transaction, InodeId inode);
// All fenced chunks of the file are sealed: maps the tail, and lets go of everything and frees the
// lease if its holder has left. Does nothing for a kind of chunk of which one is still open.
Status FinishRecovery(Transaction& transaction, InodeId inode);

// Deletes the chunk if it is sealed and nobody will ever map it: its extents have gone while it was
// being fenced.
Status DropUnused(Transaction& transaction, ChunkId chunk);

// Files whose recovery was under way when the metaserver stopped.
Result<std::vector<InodeId>> FindRecovering(Transaction& transaction);
Result<std::vector<InodeId>> LeasesOfSession(Transaction& transaction, SessionId session);

// kLeaseTaken, and a recovery of the file, while it has an open tail. Bytes that are being appended
// have no place yet; and one that its living writer does not know of (the answer to its grant was
// lost) must be sealed before the file gets another.
Status CheckNoTail(Transaction& transaction, InodeId inode, const InodeRecord& record);

const AttachedChunk* FindAttached(const InodeRecord& record, ChunkId chunk);
const AttachedChunk* FindAttached(const InodeRecord& record, AttachKind kind);
inline bool IsTail(const InodeRecord& record, ChunkId chunk) {
  const AttachedChunk* found = FindAttached(record, chunk);
  return found != nullptr && found->kind == AttachKind::kTail;
}

// ChunkRecord::file_offset of a loose chunk that is not sealed.
inline constexpr uint64_t kUnknownOffset = UINT64_MAX;

}  // namespace moraine::metaserver
