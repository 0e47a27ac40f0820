#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

constexpr std::string_view kBeingFreed = "f";

}  // namespace

Result<bool> IsBeingFreed(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto orphan, transaction.Get(Family::kOrphans, InodeKey(inode)));
  return orphan.has_value() && *orphan == kBeingFreed;
}

Result<bool> FreeOrphan(Transaction& transaction, InodeId inode, size_t extents_max) {
  MORAINE_ASSIGN_OR_RETURN(auto record,
                           transaction.Find<InodeRecord>(Family::kInodes, InodeKey(inode)));
  if (!record.has_value()) {
    transaction.Delete(Family::kOrphans, InodeKey(inode));
    return true;
  }
  if (record->links != 0) {
    return Status(Code::kCorruption, fmt::format("inode {} is queued to be freed and has {} names",
                                                 inode.value(), record->links));
  }
  MORAINE_ASSIGN_OR_RETURN(const bool unmapped, UnmapRange(transaction, inode, *record, 0,
                                                           limits::kFileBytesMax, extents_max));
  if (!unmapped) {
    transaction.Put(Family::kOrphans, InodeKey(inode), kBeingFreed);
    transaction.PutInode(inode, *record);
    return false;
  }
  for (const AttachedChunk& attached : record->attached) {
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, attached.chunk));
    if (chunk.has_value()) MORAINE_RETURN_IF_ERROR(BeginDelete(transaction, attached.chunk));
  }
  MORAINE_RETURN_IF_ERROR(EraseLease(transaction, inode));
  std::vector<std::string> xattrs;
  Cursor cursor = transaction.Scan(Family::kXattrs, InodeKey(inode));
  for (; cursor.Valid(); cursor.Next()) xattrs.emplace_back(cursor.key());
  MORAINE_RETURN_IF_ERROR(cursor.status());
  for (const std::string& key : xattrs) transaction.Delete(Family::kXattrs, key);
  MORAINE_ASSIGN_OR_RETURN(const auto token,
                           transaction.Find<TokenRecord>(Family::kTokens, HoldingKey(inode)));
  if (token.has_value()) {
    transaction.Delete(Family::kTokens, HoldingKey(inode));
    transaction.Delete(Family::kTokens, HoldingOfSessionKey(token->owner, inode));
  }
  transaction.Delete(Family::kRules, InodeKey(inode));
  transaction.Delete(Family::kInodes, InodeKey(inode));
  transaction.Delete(Family::kOrphans, InodeKey(inode));
  --transaction.counters().inodes;
  return true;
}

}  // namespace moraine::metaserver
