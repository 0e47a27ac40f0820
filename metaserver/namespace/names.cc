#include "metaserver/namespace/names.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/limits.h"
#include "protocol/lease.h"

namespace moraine::metaserver {

Status CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") {
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not a name", name));
  }
  if (name.size() > limits::kNameBytesMax) {
    return Status(Code::kNameTooLong, fmt::format("a name of {} bytes, allowed are {}", name.size(),
                                                  limits::kNameBytesMax));
  }
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return Status(Code::kInvalidArgument, "a name with '/' or a zero byte");
  }
  return Status::Ok();
}

Result<InodeRecord> GetDirectory(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(inode));
  if (record.type != FileType::kDirectory) {
    return Status(Code::kNotDirectory, fmt::format("inode {} is not a directory", inode.value()));
  }
  if (record.links == 0) {
    return Status(Code::kNotFound, fmt::format("directory {} was removed", inode.value()));
  }
  return record;
}

Result<std::optional<DentryRecord>> FindEntry(Transaction& transaction, InodeId parent,
                                              std::string_view name) {
  return transaction.Find<DentryRecord>(Family::kDentries, DentryKey(parent, name));
}

Result<DentryRecord> GetEntry(Transaction& transaction, InodeId parent, std::string_view name) {
  MORAINE_ASSIGN_OR_RETURN(const auto entry, FindEntry(transaction, parent, name));
  if (!entry.has_value()) {
    return Status(Code::kNotFound, fmt::format("no '{}' in directory {}", name, parent.value()));
  }
  return *entry;
}

void PutEntry(Transaction& transaction, InodeId parent, std::string_view name, InodeId inode,
              FileType type) {
  transaction.Put(Family::kDentries, DentryKey(parent, name), DentryRecord{inode, type}.Encode());
}

void EraseEntry(Transaction& transaction, InodeId parent, std::string_view name) {
  transaction.Delete(Family::kDentries, DentryKey(parent, name));
}

void Touch(Transaction& transaction, InodeRecord& record, bool data) {
  record.ctime_ns = transaction.now_ns();
  if (data) record.mtime_ns = transaction.now_ns();
  ++record.version;
}

void TouchDirectory(Transaction& transaction, InodeId inode, InodeRecord& record, int64_t entries) {
  record.size += static_cast<uint64_t>(entries);
  Touch(transaction, record, true);
  transaction.PutInode(inode, record);
  transaction.effects().changed.push_back(inode);
}

Status DropLink(Transaction& transaction, InodeId inode, InodeRecord& record) {
  if (record.type == FileType::kDirectory) {
    record.links = 0;
  } else {
    MORAINE_CHECK(record.links > 0, "a name without a link");
    --record.links;
  }
  Touch(transaction, record, false);
  transaction.PutInode(inode, record);
  transaction.effects().changed.push_back(inode);
  if (record.links == 0) {
    transaction.Put(Family::kOrphans, InodeKey(inode), {});
    transaction.effects().orphans.push_back(inode);
  }
  return Status::Ok();
}

Result<SessionId> OwnerOf(Transaction& transaction, InodeId directory) {
  MORAINE_ASSIGN_OR_RETURN(const auto token,
                           transaction.Find<TokenRecord>(Family::kTokens, HoldingKey(directory)));
  return token.has_value() ? token->owner : SessionId();
}

Status LeaveDirectory(Transaction& transaction, InodeId directory, std::string_view name,
                      InodeId inode, InodeRecord& record) {
  if (record.type == FileType::kDirectory || record.parent != directory || record.links <= 1) {
    return Status::Ok();
  }
  MORAINE_ASSIGN_OR_RETURN(const SessionId owner, OwnerOf(transaction, directory));
  if (!owner.IsNone()) {
    // Rare enough for a walk: a second name in the same owned directory keeps the file there.
    Cursor cursor = transaction.Scan(Family::kDentries, InodeKey(directory));
    for (; cursor.Valid(); cursor.Next()) {
      if (cursor.key().substr(sizeof(uint64_t)) == name) continue;
      MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
      if (entry.inode == inode) return Status::Ok();
    }
    MORAINE_RETURN_IF_ERROR(cursor.status());
  }
  record.parent = InodeId();
  return Status::Ok();
}

Status CheckRemovable(Transaction& transaction, InodeId directory, const InodeRecord& record) {
  if (record.size > 0) {
    return Status(Code::kNotEmpty, fmt::format("directory {} is not empty", directory.value()));
  }
  MORAINE_ASSIGN_OR_RETURN(const auto token,
                           transaction.Find<TokenRecord>(Family::kTokens, HoldingKey(directory)));
  if (token.has_value() && !token->owner.IsNone() && token->owner != transaction.session()) {
    return Status(Code::kBusy, fmt::format("directory {} is owned by '{}'", directory.value(),
                                           token->owner_name));
  }
  return Status::Ok();
}

Status CheckToken(Transaction& transaction, InodeId directory, Token token) {
  if (!MORAINE_FAULT_STATUS("mutant.metaserver_ignores_tokens").ok()) return Status::Ok();
  MORAINE_ASSIGN_OR_RETURN(const auto record,
                           transaction.Find<TokenRecord>(Family::kTokens, HoldingKey(directory)));
  protocol::DirectoryOwnership ownership;
  if (record.has_value()) ownership = {record->token, record->owner};
  const Status status = protocol::CheckDirectoryToken(ownership, token);
  if (!status.ok()) return status.Prefixed(fmt::format("directory {}", directory.value()));
  if (!ownership.owner.IsNone() && ownership.owner != transaction.session()) {
    return Status(Code::kFenced,
                  fmt::format("directory {} belongs to another session", directory.value()));
  }
  return Status::Ok();
}

Status CheckGoverningToken(Transaction& transaction, const InodeRecord& record, Token token) {
  // Nobody's directory: only the lease protects a file whose governing name is gone.
  if (record.parent.IsNone()) return Status::Ok();
  return CheckToken(transaction, record.parent, token);
}

}  // namespace moraine::metaserver
