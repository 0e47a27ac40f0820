#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {

Result<InodeView> GetInode(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(inode));
  const bool open_tail = FindAttached(record, AttachKind::kTail) != nullptr;
  return InodeView{inode, std::move(record), open_tail};
}

Result<InodeView> Lookup(Transaction& transaction, InodeId parent, std::string_view name) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord directory, transaction.Inode(parent));
  if (directory.type != FileType::kDirectory) {
    return Status(Code::kNotDirectory, fmt::format("inode {} is not a directory", parent.value()));
  }
  if (name == ".") return InodeView{parent, std::move(directory)};
  if (name == "..") return GetInode(transaction, directory.parent);
  MORAINE_RETURN_IF_ERROR(CheckName(name));
  MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, GetEntry(transaction, parent, name));
  return GetInode(transaction, entry.inode);
}

Result<InodeView> Resolve(Transaction& transaction, std::string_view path) {
  if (path.empty() || path.front() != '/') {
    return Status(Code::kInvalidArgument, fmt::format("'{}' does not begin with '/'", path));
  }
  if (path.size() > limits::kPathBytesMax) {
    return Status(Code::kNameTooLong, fmt::format("a path of {} bytes", path.size()));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeView at, GetInode(transaction, kRootInode));
  size_t position = 0;
  while (position < path.size()) {
    const size_t end = std::min(path.find('/', position), path.size());
    const std::string_view name = path.substr(position, end - position);
    position = end + 1;
    if (name.empty()) continue;
    MORAINE_ASSIGN_OR_RETURN(at, Lookup(transaction, at.id, name));
  }
  return at;
}

Result<FileView> GetLayout(Transaction& transaction, InodeId inode) {
  FileView file;
  MORAINE_ASSIGN_OR_RETURN(file.inode, GetInode(transaction, inode));
  const InodeRecord& record = file.inode.record;
  if (record.type != FileType::kRegular) return file;
  if (!record.inline_data.empty()) file.layout.inline_data = record.inline_data;
  MORAINE_ASSIGN_OR_RETURN(file.layout.extents,
                           ReadExtents(transaction, inode, 0, limits::kFileBytesMax));
  std::vector<ChunkId> chunks;
  std::unordered_set<ChunkId> seen;
  for (const Extent& extent : file.layout.extents) {
    if (seen.insert(extent.chunk).second) chunks.push_back(extent.chunk);
  }
  if (const AttachedChunk* tail = FindAttached(record, AttachKind::kTail)) {
    file.layout.tail = *tail;
    if (seen.insert(tail->chunk).second) chunks.push_back(tail->chunk);
  }
  for (const ChunkId chunk : chunks) {
    MORAINE_ASSIGN_OR_RETURN(ChunkRecord found, GetChunk(transaction, chunk));
    file.layout.chunks.push_back({chunk, std::move(found)});
  }
  return file;
}

}  // namespace moraine::metaserver
