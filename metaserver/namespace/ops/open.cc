#include <fmt/format.h>

#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/truncate.h"

namespace moraine::metaserver {

Status Open(Transaction& transaction, const OpenArgs& args) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  if (record.links == 0) {
    MORAINE_ASSIGN_OR_RETURN(const bool freed, IsBeingFreed(transaction, args.inode));
    if (freed) {
      return Status(Code::kNotFound, fmt::format("inode {} is being freed", args.inode.value()));
    }
  }
  if (args.write || args.truncate) {
    MORAINE_RETURN_IF_ERROR(AdmitWriter(transaction, args.inode, record, args.token));
  }
  if (args.truncate) {
    MORAINE_RETURN_IF_ERROR(Truncate(transaction, args.inode, record, 0));
    Touch(transaction, record, true);
    transaction.PutInode(args.inode, record);
    transaction.effects().changed.push_back(args.inode);
  }
  transaction.effects().opened.push_back(args.inode);
  return Status::Ok();
}

Status Close(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (!lease.has_value() || lease->session != transaction.session()) return Status::Ok();
  return ReleaseLease(transaction, inode);
}

}  // namespace moraine::metaserver
