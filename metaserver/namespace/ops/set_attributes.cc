#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/losses.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/truncate.h"

namespace moraine::metaserver {
namespace {

constexpr uint32_t kModeMask = 07777;

}  // namespace

Status Truncate(Transaction& transaction, InodeId inode, InodeRecord& record, uint64_t size) {
  if (record.type != FileType::kRegular) {
    return Status(record.type == FileType::kDirectory ? Code::kIsDirectory : Code::kInvalidArgument,
                  fmt::format("inode {} is not a regular file", inode.value()));
  }
  if (size > limits::kFileBytesMax) {
    return Status(Code::kTooLarge,
                  fmt::format("a size of {} bytes, allowed are {}", size, limits::kFileBytesMax));
  }
  // Bytes that are still being appended have no place yet.
  MORAINE_RETURN_IF_ERROR(CheckNoTail(transaction, inode, record));
  if (size < record.size) {
    MORAINE_RETURN_IF_ERROR(
        UnmapRange(transaction, inode, record, size, limits::kFileBytesMax).status());
    if (record.inline_data.size() > size) record.inline_data.resize(size);
  } else if (!record.inline_data.empty() && size <= limits::kInlineBytesMax) {
    record.inline_data.resize(size, '\0');
  }
  record.size = size;
  return Status::Ok();
}

Result<InodeView> SetAttributes(Transaction& transaction, const SetAttributesArgs& args) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  if (!args.size.has_value()) {
    MORAINE_RETURN_IF_ERROR(CheckGoverningToken(transaction, record, args.token));
  } else {
    MORAINE_RETURN_IF_ERROR(CheckWriter(transaction, args.inode, record, args.token));
    MORAINE_RETURN_IF_ERROR(CheckKnowsLosses(args.inode, record, args.losses));
    MORAINE_RETURN_IF_ERROR(Truncate(transaction, args.inode, record, *args.size));
    record.mtime_ns = transaction.now_ns();
  }
  if (args.mode.has_value()) record.mode = *args.mode & kModeMask;
  if (args.uid.has_value()) record.uid = *args.uid;
  if (args.gid.has_value()) record.gid = *args.gid;
  if (args.atime_ns.has_value()) record.atime_ns = *args.atime_ns;
  if (args.mtime_ns.has_value()) record.mtime_ns = *args.mtime_ns;
  Touch(transaction, record, false);
  transaction.PutInode(args.inode, record);
  transaction.effects().changed.push_back(args.inode);
  return GetInode(transaction, args.inode);
}

}  // namespace moraine::metaserver
