#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

// One rename under way. The directories' records are held once even if they are the same one, so
// that neither change is lost.
struct Move {
  Transaction& transaction;
  const RenameArgs& args;
  InodeRecord parent;
  InodeRecord new_parent;  // unused when both are the same
  DentryRecord source;
  std::optional<DentryRecord> target;

  bool same_parent() const { return args.parent == args.new_parent; }
  InodeRecord& to() { return same_parent() ? parent : new_parent; }
};

// `inode` must not be `directory` or above it.
Status CheckNoCycle(Transaction& transaction, InodeId inode, InodeId directory) {
  InodeId at = directory;
  for (uint64_t depth = 0; depth <= limits::kPathBytesMax; ++depth) {
    if (at == inode) {
      return Status(Code::kInvalidArgument,
                    fmt::format("directory {} cannot be moved into itself", inode.value()));
    }
    if (at == kRootInode) return Status::Ok();
    MORAINE_ASSIGN_OR_RETURN(const InodeRecord record, transaction.Inode(at));
    at = record.parent;
  }
  return Status(Code::kLoop, fmt::format("directory {} lies too deep", directory.value()));
}

// A file that leaves or enters an owned directory changes the rules of its writer: another session
// must have let go of it first.
Status CheckWriterOf(Move& move, const DentryRecord& entry) {
  if (entry.type != FileType::kRegular || move.same_parent()) return Status::Ok();
  if (move.args.token.IsNone() && move.args.new_token.IsNone()) return Status::Ok();
  return CheckNoOtherWriter(move.transaction, entry.inode);
}

// Checks what would be replaced and takes its name away.
Status Replace(Move& move) {
  const DentryRecord& target = *move.target;
  const bool source_is_directory = move.source.type == FileType::kDirectory;
  const bool target_is_directory = target.type == FileType::kDirectory;
  if (source_is_directory && !target_is_directory) {
    return Status(Code::kNotDirectory, fmt::format("'{}' is not a directory", move.args.new_name));
  }
  if (!source_is_directory && target_is_directory) {
    return Status(Code::kIsDirectory, fmt::format("'{}' is a directory", move.args.new_name));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, move.transaction.Inode(target.inode));
  if (target_is_directory) {
    MORAINE_RETURN_IF_ERROR(CheckRemovable(move.transaction, target.inode, record));
    --move.to().links;
  }
  MORAINE_RETURN_IF_ERROR(LeaveDirectory(move.transaction, move.args.new_parent, move.args.new_name,
                                         target.inode, record));
  MORAINE_RETURN_IF_ERROR(DropLink(move.transaction, target.inode, record));
  --move.to().size;
  move.transaction.effects().durable = true;
  return Status::Ok();
}

// Gives an inode, which has been `name` in `from`, its place in `to`.
Status Settle(Move& move, const DentryRecord& entry, std::string_view name, InodeId from,
              InodeRecord& from_record, InodeId to, InodeRecord& to_record) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, move.transaction.Inode(entry.inode));
  if (from != to) {
    if (entry.type == FileType::kDirectory) {
      --from_record.links;
      ++to_record.links;
      record.parent = to;
    } else {
      // Another name may keep the file under the token of the directory that it leaves.
      MORAINE_RETURN_IF_ERROR(LeaveDirectory(move.transaction, from, name, entry.inode, record));
      const bool leaves = record.parent == from && record.links <= 1;
      if (leaves || record.parent.IsNone()) record.parent = to;
    }
  }
  Touch(move.transaction, record, false);
  move.transaction.PutInode(entry.inode, record);
  move.transaction.effects().changed.push_back(entry.inode);
  return Status::Ok();
}

Status Exchange(Move& move) {
  const RenameArgs& args = move.args;
  if (!move.target.has_value()) {
    return Status(Code::kNotFound,
                  fmt::format("no '{}' in directory {}", args.new_name, args.new_parent.value()));
  }
  if (move.target->type == FileType::kDirectory) {
    MORAINE_RETURN_IF_ERROR(CheckNoCycle(move.transaction, move.target->inode, args.parent));
  }
  MORAINE_RETURN_IF_ERROR(CheckWriterOf(move, *move.target));
  MORAINE_RETURN_IF_ERROR(
      Settle(move, move.source, args.name, args.parent, move.parent, args.new_parent, move.to()));
  MORAINE_RETURN_IF_ERROR(Settle(move, *move.target, args.new_name, args.new_parent, move.to(),
                                 args.parent, move.parent));
  PutEntry(move.transaction, args.parent, args.name, move.target->inode, move.target->type);
  PutEntry(move.transaction, args.new_parent, args.new_name, move.source.inode, move.source.type);
  move.transaction.effects().durable = true;
  return Status::Ok();
}

Status MoveOver(Move& move) {
  const RenameArgs& args = move.args;
  if (move.target.has_value()) MORAINE_RETURN_IF_ERROR(Replace(move));
  if (move.source.type == FileType::kDirectory && !move.same_parent() &&
      move.to().links >= limits::kLinksMax) {
    return Status(Code::kTooManyLinks, "too many directories in one directory");
  }
  MORAINE_RETURN_IF_ERROR(
      Settle(move, move.source, args.name, args.parent, move.parent, args.new_parent, move.to()));
  EraseEntry(move.transaction, args.parent, args.name);
  PutEntry(move.transaction, args.new_parent, args.new_name, move.source.inode, move.source.type);
  --move.parent.size;
  ++move.to().size;
  return Status::Ok();
}

Status CheckTokens(Move& move) {
  MORAINE_RETURN_IF_ERROR(CheckToken(move.transaction, move.args.parent, move.args.token));
  if (!move.same_parent()) {
    return CheckToken(move.transaction, move.args.new_parent, move.args.new_token);
  }
  // Within one directory the second token says nothing new; a different one is a mistake.
  if (!move.args.new_token.IsNone() && move.args.new_token != move.args.token) {
    return Status(Code::kFenced, "two tokens for one directory");
  }
  return Status::Ok();
}

}  // namespace

Result<RenameResult> Rename(Transaction& transaction, const RenameArgs& args) {
  MORAINE_RETURN_IF_ERROR(CheckName(args.name));
  MORAINE_RETURN_IF_ERROR(CheckName(args.new_name));
  Move move{transaction, args, {}, {}, {}, {}};
  MORAINE_ASSIGN_OR_RETURN(move.parent, GetDirectory(transaction, args.parent));
  if (!move.same_parent()) {
    MORAINE_ASSIGN_OR_RETURN(move.new_parent, GetDirectory(transaction, args.new_parent));
  }
  MORAINE_RETURN_IF_ERROR(CheckTokens(move));
  MORAINE_ASSIGN_OR_RETURN(move.source, GetEntry(transaction, args.parent, args.name));
  MORAINE_ASSIGN_OR_RETURN(move.target, FindEntry(transaction, args.new_parent, args.new_name));
  if (args.mode == RenameMode::kNoReplace && move.target.has_value()) {
    return Status(Code::kAlreadyExists, fmt::format("'{}' is in directory {} already",
                                                    args.new_name, args.new_parent.value()));
  }
  // Two names of one inode, or one name: nothing to do.
  if (move.target.has_value() && move.target->inode == move.source.inode) {
    return RenameResult{move.source.inode, InodeId()};
  }
  if (move.source.type == FileType::kDirectory) {
    MORAINE_RETURN_IF_ERROR(CheckNoCycle(transaction, move.source.inode, args.new_parent));
  }
  MORAINE_RETURN_IF_ERROR(CheckWriterOf(move, move.source));
  RenameResult result{move.source.inode, InodeId()};
  if (args.mode == RenameMode::kExchange) {
    MORAINE_RETURN_IF_ERROR(Exchange(move));
  } else {
    MORAINE_RETURN_IF_ERROR(MoveOver(move));
    if (move.target.has_value()) result.replaced = move.target->inode;
  }
  TouchDirectory(transaction, args.parent, move.parent, 0);
  if (!move.same_parent()) TouchDirectory(transaction, args.new_parent, move.new_parent, 0);
  return result;
}

}  // namespace moraine::metaserver
