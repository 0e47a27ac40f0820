#include <fmt/format.h>

#include <algorithm>

#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kEntriesMax = 4096;

}  // namespace

Result<ReadDirectoryResult> ReadDirectory(Transaction& transaction, InodeId directory,
                                          std::string_view after, size_t limit,
                                          bool with_attributes) {
  MORAINE_ASSIGN_OR_RETURN(const InodeRecord record, transaction.Inode(directory));
  if (record.type != FileType::kDirectory) {
    return Status(Code::kNotDirectory,
                  fmt::format("inode {} is not a directory", directory.value()));
  }
  ReadDirectoryResult result;
  result.parent = record.parent;
  limit = limit == 0 ? kEntriesMax : std::min(limit, kEntriesMax);
  const std::string prefix = InodeKey(directory);
  Cursor cursor = transaction.Scan(Family::kDentries, prefix, after);
  for (; cursor.Valid(); cursor.Next()) {
    const std::string_view name = cursor.key().substr(prefix.size());
    if (name == after) continue;
    if (result.entries.size() == limit) {
      result.more = true;
      break;
    }
    MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
    ListedEntry listed{std::string(name), entry.inode, entry.type, std::nullopt};
    if (with_attributes) {
      MORAINE_ASSIGN_OR_RETURN(listed.view, GetInode(transaction, entry.inode));
    }
    result.entries.push_back(std::move(listed));
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return result;
}

}  // namespace moraine::metaserver
