#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/store/store.h"

namespace moraine::metaserver {
namespace {

constexpr uint32_t kModeMask = 07777;
constexpr uint32_t kSetGid = 02000;

Result<CreateResult> Existing(Transaction& transaction, const CreateArgs& args,
                              const DentryRecord& entry) {
  if (args.exclusive || args.type != FileType::kRegular) {
    return Status(Code::kAlreadyExists,
                  fmt::format("'{}' is in directory {} already", args.name, args.parent.value()));
  }
  if (entry.type == FileType::kDirectory) {
    return Status(Code::kIsDirectory, fmt::format("'{}' is a directory", args.name));
  }
  if (entry.type != FileType::kRegular) {
    return Status(Code::kAlreadyExists, fmt::format("'{}' is not a regular file", args.name));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeView inode, GetInode(transaction, entry.inode));
  return CreateResult{std::move(inode), false};
}

Status CheckTarget(const CreateArgs& args) {
  if (args.type != FileType::kSymlink) return Status::Ok();
  if (args.symlink_target.empty() || args.symlink_target.find('\0') != std::string::npos) {
    return Status(Code::kInvalidArgument, "a symbolic link needs a target without zero bytes");
  }
  if (args.symlink_target.size() > limits::kPathBytesMax) {
    return Status(Code::kNameTooLong, "the target of a symbolic link is too long");
  }
  return Status::Ok();
}

}  // namespace

Result<CreateResult> Create(Transaction& transaction, const CreateArgs& args) {
  MORAINE_RETURN_IF_ERROR(CheckName(args.name));
  MORAINE_RETURN_IF_ERROR(CheckTarget(args));
  MORAINE_ASSIGN_OR_RETURN(InodeRecord parent, GetDirectory(transaction, args.parent));
  MORAINE_ASSIGN_OR_RETURN(const auto entry, FindEntry(transaction, args.parent, args.name));
  if (entry.has_value()) return Existing(transaction, args, *entry);
  MORAINE_RETURN_IF_ERROR(CheckToken(transaction, args.parent, args.token));

  InodeRecord record;
  record.type = args.type;
  record.mode = args.mode & kModeMask;
  record.uid = args.uid;
  record.gid = args.gid;
  record.links = 1;
  record.atime_ns = record.mtime_ns = record.ctime_ns = transaction.now_ns();
  record.version = 1;
  record.parent = args.parent;
  // A set-group-id directory hands its group on, and itself to directories.
  if ((parent.mode & kSetGid) != 0) {
    record.gid = parent.gid;
    if (args.type == FileType::kDirectory) record.mode |= kSetGid;
  }
  switch (args.type) {
    case FileType::kDirectory:
      if (parent.links >= limits::kLinksMax) {
        return Status(Code::kTooManyLinks, "too many directories in one directory");
      }
      record.links = 2;
      ++parent.links;
      break;
    case FileType::kRegular: {
      record.policy = args.policy;
      if (record.policy.empty()) {
        MORAINE_ASSIGN_OR_RETURN(record.policy, PolicyForName(transaction, args.parent, args.name));
      }
      MORAINE_RETURN_IF_ERROR(FindPolicy(transaction, record.policy).status());
      break;
    }
    case FileType::kSymlink:
      record.symlink_target = args.symlink_target;
      record.size = args.symlink_target.size();
      break;
    case FileType::kCharDevice:
    case FileType::kBlockDevice:
      record.rdev = args.rdev;
      break;
    case FileType::kFifo:
    case FileType::kSocket:
      break;
  }
  MORAINE_ASSIGN_OR_RETURN(const InodeId inode, transaction.store().NewInode());
  transaction.PutInode(inode, record);
  PutEntry(transaction, args.parent, args.name, inode, args.type);
  TouchDirectory(transaction, args.parent, parent, +1);
  ++transaction.counters().inodes;
  return CreateResult{InodeView{inode, std::move(record)}, true};
}

}  // namespace moraine::metaserver
