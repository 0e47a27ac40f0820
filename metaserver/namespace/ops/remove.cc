#include <fmt/format.h>

#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {

Result<RemoveResult> Remove(Transaction& transaction, const RemoveArgs& args) {
  MORAINE_RETURN_IF_ERROR(CheckName(args.name));
  MORAINE_ASSIGN_OR_RETURN(InodeRecord parent, GetDirectory(transaction, args.parent));
  MORAINE_RETURN_IF_ERROR(CheckToken(transaction, args.parent, args.token));
  MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, GetEntry(transaction, args.parent, args.name));
  const bool is_directory = entry.type == FileType::kDirectory;
  if (is_directory && !args.directory) {
    return Status(Code::kIsDirectory, fmt::format("'{}' is a directory", args.name));
  }
  if (!is_directory && args.directory) {
    return Status(Code::kNotDirectory, fmt::format("'{}' is not a directory", args.name));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(entry.inode));
  if (is_directory) {
    MORAINE_RETURN_IF_ERROR(CheckRemovable(transaction, entry.inode, record));
    --parent.links;
  }
  MORAINE_RETURN_IF_ERROR(LeaveDirectory(transaction, args.parent, args.name, entry.inode, record));
  EraseEntry(transaction, args.parent, args.name);
  TouchDirectory(transaction, args.parent, parent, -1);
  MORAINE_RETURN_IF_ERROR(DropLink(transaction, entry.inode, record));
  return RemoveResult{entry.inode, record.links};
}

}  // namespace moraine::metaserver
