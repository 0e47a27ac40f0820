#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

Status CheckXattrName(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos) {
    return Status(Code::kInvalidArgument, "an attribute needs a name without zero bytes");
  }
  if (name.size() > limits::kXattrNameBytesMax) {
    return Status(Code::kOutOfRange, fmt::format("an attribute name of {} bytes, allowed are {}",
                                                 name.size(), limits::kXattrNameBytesMax));
  }
  return Status::Ok();
}

Status Missing(std::string_view name) {
  return Status(Code::kNoAttribute, fmt::format("no attribute '{}'", name));
}

Status TouchInode(Transaction& transaction, InodeId inode, InodeRecord& record) {
  Touch(transaction, record, false);
  transaction.PutInode(inode, record);
  transaction.effects().changed.push_back(inode);
  return Status::Ok();
}

}  // namespace

Result<std::string> GetXattr(Transaction& transaction, InodeId inode, std::string_view name) {
  MORAINE_RETURN_IF_ERROR(CheckXattrName(name));
  MORAINE_RETURN_IF_ERROR(transaction.Inode(inode).status());
  MORAINE_ASSIGN_OR_RETURN(auto value, transaction.Get(Family::kXattrs, XattrKey(inode, name)));
  if (!value.has_value()) return Missing(name);
  return std::move(*value);
}

Status SetXattr(Transaction& transaction, const SetXattrArgs& args) {
  MORAINE_RETURN_IF_ERROR(CheckXattrName(args.name));
  if (args.value.size() > limits::kXattrValueBytesMax) {
    return Status(Code::kTooLarge, fmt::format("an attribute of {} bytes, allowed are {}",
                                               args.value.size(), limits::kXattrValueBytesMax));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  MORAINE_RETURN_IF_ERROR(CheckGoverningToken(transaction, record, args.token));
  const std::string key = XattrKey(args.inode, args.name);
  MORAINE_ASSIGN_OR_RETURN(const auto old, transaction.Get(Family::kXattrs, key));
  if (old.has_value() && args.create_only) {
    return Status(Code::kAlreadyExists, fmt::format("attribute '{}' is there", args.name));
  }
  if (!old.has_value() && args.replace_only) return Missing(args.name);
  if (!old.has_value()) {
    MORAINE_ASSIGN_OR_RETURN(const auto names, ListXattrs(transaction, args.inode));
    if (names.size() >= limits::kXattrsPerInodeMax) {
      return Status(Code::kNoSpace, fmt::format("inode {} has {} attributes already",
                                                args.inode.value(), names.size()));
    }
  }
  transaction.Put(Family::kXattrs, key, args.value);
  return TouchInode(transaction, args.inode, record);
}

Status RemoveXattr(Transaction& transaction, InodeId inode, std::string_view name, Token token) {
  MORAINE_RETURN_IF_ERROR(CheckXattrName(name));
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(inode));
  MORAINE_RETURN_IF_ERROR(CheckGoverningToken(transaction, record, token));
  const std::string key = XattrKey(inode, name);
  MORAINE_ASSIGN_OR_RETURN(const auto old, transaction.Get(Family::kXattrs, key));
  if (!old.has_value()) return Missing(name);
  transaction.Delete(Family::kXattrs, key);
  return TouchInode(transaction, inode, record);
}

Result<std::vector<std::string>> ListXattrs(Transaction& transaction, InodeId inode) {
  MORAINE_RETURN_IF_ERROR(transaction.Inode(inode).status());
  std::vector<std::string> names;
  const std::string prefix = InodeKey(inode);
  Cursor cursor = transaction.Scan(Family::kXattrs, prefix);
  for (; cursor.Valid(); cursor.Next()) {
    names.emplace_back(cursor.key().substr(prefix.size()));
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return names;
}

}  // namespace moraine::metaserver
