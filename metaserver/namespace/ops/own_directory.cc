#include <fmt/format.h>

#include "base/log.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "protocol/lease.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kOwnerNameBytesMax = 1024;

Result<TokenRecord> FindToken(Transaction& transaction, InodeId directory) {
  MORAINE_ASSIGN_OR_RETURN(auto record,
                           transaction.Find<TokenRecord>(Family::kTokens, HoldingKey(directory)));
  return record.value_or(TokenRecord());
}

void PutToken(Transaction& transaction, InodeId directory, const TokenRecord& before,
              const TokenRecord& after) {
  if (!before.owner.IsNone()) {
    transaction.Delete(Family::kTokens, HoldingOfSessionKey(before.owner, directory));
  }
  if (!after.owner.IsNone()) {
    transaction.Put(Family::kTokens, HoldingOfSessionKey(after.owner, directory), {});
  }
  transaction.Put(Family::kTokens, HoldingKey(directory), after.Encode());
  transaction.effects().durable = true;
}

// Every writer of a file directly in the directory loses it, the new owner too: what it had under
// way was for the directory as it was before. Open chunks are to be sealed.
Status DropLeases(Transaction& transaction, InodeId directory) {
  std::vector<InodeId> files;
  Cursor cursor = transaction.Scan(Family::kDentries, InodeKey(directory));
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
    if (entry.type == FileType::kRegular) files.push_back(entry.inode);
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  for (const InodeId file : files) {
    MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, file));
    if (!lease.has_value()) continue;
    if (lease->state == LeaseState::kRecovering) {
      transaction.effects().recoveries.push_back(file);
    } else {
      MORAINE_RETURN_IF_ERROR(ReleaseLease(transaction, file));
      if (lease->session != transaction.session()) {
        transaction.effects().lost.emplace_back(lease->session, file);
      }
    }
  }
  return Status::Ok();
}

}  // namespace

Result<AcquireResult> AcquireDirectory(Transaction& transaction, InodeId directory,
                                       std::string_view owner_name, bool steal) {
  if (transaction.session().IsNone()) {
    return Status(Code::kSessionEnded, "a directory is owned by a session");
  }
  if (owner_name.size() > kOwnerNameBytesMax) {
    return Status(Code::kNameTooLong, "the owner's name is too long");
  }
  MORAINE_RETURN_IF_ERROR(GetDirectory(transaction, directory).status());
  MORAINE_ASSIGN_OR_RETURN(const TokenRecord before, FindToken(transaction, directory));
  const bool others = !before.owner.IsNone() && before.owner != transaction.session();
  if (others && !steal) {
    return Status(Code::kBusy, fmt::format("directory {} is owned by '{}'", directory.value(),
                                           before.owner_name));
  }
  const protocol::DirectoryOwnership next =
      protocol::AcquireDirectory({before.token, before.owner}, transaction.session());
  PutToken(transaction, directory, before,
           TokenRecord{next.token, next.owner, std::string(owner_name)});
  transaction.effects().granted.push_back(directory);
  MORAINE_RETURN_IF_ERROR(DropLeases(transaction, directory));
  if (others) transaction.effects().lost.emplace_back(before.owner, directory);
  transaction.effects().changed.push_back(directory);
  return AcquireResult{next.token};
}

Result<std::vector<InodeId>> FilesToRecover(Transaction& transaction, InodeId directory) {
  std::vector<InodeId> files;
  Cursor cursor = transaction.Scan(Family::kDentries, InodeKey(directory));
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
    if (entry.type != FileType::kRegular) continue;
    MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, entry.inode));
    if (lease.has_value() && lease->state == LeaseState::kRecovering) files.push_back(entry.inode);
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return files;
}

Status VisitEntries(Transaction& transaction, InodeId directory, const EntryVisitor& visit) {
  const std::string prefix = InodeKey(directory);
  Cursor cursor = transaction.Scan(Family::kDentries, prefix);
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
    MORAINE_ASSIGN_OR_RETURN(FileView file, GetLayout(transaction, entry.inode));
    MORAINE_RETURN_IF_ERROR(
        visit({std::string(cursor.key().substr(prefix.size())), std::move(file)}));
  }
  return cursor.status();
}

Result<InodeView> ReadOwned(Transaction& transaction, InodeId directory, Token token,
                            const EntryVisitor& visit) {
  MORAINE_RETURN_IF_ERROR(CheckToken(transaction, directory, token));
  MORAINE_RETURN_IF_ERROR(VisitEntries(transaction, directory, visit));
  return GetInode(transaction, directory);
}

Status ReleaseDirectory(Transaction& transaction, InodeId directory, Token token) {
  MORAINE_ASSIGN_OR_RETURN(const TokenRecord before, FindToken(transaction, directory));
  MORAINE_ASSIGN_OR_RETURN(const protocol::DirectoryOwnership next,
                           protocol::ReleaseDirectory({before.token, before.owner}, token));
  PutToken(transaction, directory, before, TokenRecord{next.token, next.owner, {}});
  transaction.effects().changed.push_back(directory);
  return Status::Ok();
}

Status EndSession(Transaction& transaction, SessionId session) {
  MORAINE_ASSIGN_OR_RETURN(const auto leases, LeasesOfSession(transaction, session));
  for (const InodeId inode : leases) {
    const Status released = ReleaseLease(transaction, inode);
    if (released.ok()) continue;
    // One damaged file does not keep the session's other files from everybody.
    LogError("inode {}: the lease of ended session {} is dropped, its chunks are not recovered: {}",
             inode.value(), session.value(), released.ToString());
    EraseLease(transaction, inode, session);
  }
  std::vector<InodeId> directories;
  const std::string prefix = HoldingsOfSessionPrefix(session);
  Cursor owned = transaction.Scan(Family::kTokens, prefix);
  for (; owned.Valid(); owned.Next()) {
    directories.push_back(InodeId(NumberInKey(owned.key(), prefix.size())));
  }
  MORAINE_RETURN_IF_ERROR(owned.status());
  for (const InodeId directory : directories) {
    MORAINE_ASSIGN_OR_RETURN(const TokenRecord before, FindToken(transaction, directory));
    PutToken(transaction, directory, before, TokenRecord{before.token, SessionId(), {}});
  }
  std::vector<std::string> answers;
  Cursor remembered = transaction.Scan(Family::kAnswers, SessionKey(session));
  for (; remembered.Valid(); remembered.Next()) answers.emplace_back(remembered.key());
  MORAINE_RETURN_IF_ERROR(remembered.status());
  for (const std::string& key : answers) transaction.Delete(Family::kAnswers, key);
  transaction.Delete(Family::kSessions, SessionKey(session));
  transaction.effects().durable = true;
  return Status::Ok();
}

}  // namespace moraine::metaserver
