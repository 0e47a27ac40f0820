#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

// The link count of a file in somebody's owned directory changes: only its owner may, though the
// call carries no token for that directory. A file that nobody owned comes under the token of the
// directory that it is linked into, so that its other names are no way around it.
Status Govern(Transaction& transaction, const LinkArgs& args, InodeRecord& record) {
  if (record.parent == args.new_parent) return Status::Ok();
  if (!record.parent.IsNone()) {
    MORAINE_ASSIGN_OR_RETURN(const SessionId owner, OwnerOf(transaction, record.parent));
    if (!owner.IsNone() && owner != transaction.session()) {
      return Status(Code::kFenced, fmt::format("the file lies in directory {}, which is owned",
                                               record.parent.value()));
    }
    if (!owner.IsNone() || args.token.IsNone()) return Status::Ok();
  }
  if (!args.token.IsNone()) MORAINE_RETURN_IF_ERROR(CheckNoOtherWriter(transaction, args.inode));
  record.parent = args.new_parent;
  return Status::Ok();
}

}  // namespace

Result<InodeView> Link(Transaction& transaction, const LinkArgs& args) {
  MORAINE_RETURN_IF_ERROR(CheckName(args.new_name));
  MORAINE_ASSIGN_OR_RETURN(InodeRecord parent, GetDirectory(transaction, args.new_parent));
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  if (record.type == FileType::kDirectory) {
    return Status(Code::kNotPermitted, "directories have one name");
  }
  MORAINE_RETURN_IF_ERROR(CheckToken(transaction, args.new_parent, args.token));
  if (record.links == 0) {
    return Status(Code::kNotFound,
                  fmt::format("inode {} has lost its last name", args.inode.value()));
  }
  if (record.links >= limits::kLinksMax) {
    return Status(Code::kTooManyLinks,
                  fmt::format("inode {} has {} names", args.inode.value(), record.links));
  }
  MORAINE_ASSIGN_OR_RETURN(const auto entry,
                           FindEntry(transaction, args.new_parent, args.new_name));
  if (entry.has_value()) {
    return Status(Code::kAlreadyExists, fmt::format("'{}' is in directory {} already",
                                                    args.new_name, args.new_parent.value()));
  }
  MORAINE_RETURN_IF_ERROR(Govern(transaction, args, record));
  ++record.links;
  Touch(transaction, record, false);
  transaction.PutInode(args.inode, record);
  transaction.effects().changed.push_back(args.inode);
  PutEntry(transaction, args.new_parent, args.new_name, args.inode, record.type);
  TouchDirectory(transaction, args.new_parent, parent, +1);
  return GetInode(transaction, args.inode);
}

}  // namespace moraine::metaserver
