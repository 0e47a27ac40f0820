// What the file system's client gives and takes: plain values, own types (no Thrift).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "fs/chunkio/chunk.h"

namespace moraine::fs {

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,
};

struct Attributes {
  InodeId inode;
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // permission, set-id and sticky bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t links = 0;
  uint64_t size = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint32_t rdev = 0;
  uint64_t version = 0;        // grows with every change
  uint64_t stored_bytes = 0;   // of user data, without holes
  bool open_tail = false;      // another client appends to it: `size` may have grown since
  uint32_t losses = 0;         // how often unsynced bytes were lost with their servers
  std::string symlink_target;  // of a symlink, when asked by Lookup or GetAttributes
};

struct AttributeChange {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
};

struct NewEntry {
  FileType type = FileType::kRegular;
  uint32_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;
  std::string symlink_target;
  bool exclusive = true;       // false: an existing regular file is fine
  std::string policy;          // by name; empty: the directory's rules decide
  bool expect_stream = false;  // a log or table: its first chunk comes with the same call
};

struct DirectoryEntry {
  std::string name;
  InodeId inode;
  FileType type = FileType::kRegular;
  std::optional<Attributes> attributes;
};

struct DirectoryPage {
  std::vector<DirectoryEntry> entries;  // without "." and ".."
  bool more = false;
  InodeId parent;
};

enum class RenameMode { kReplace, kNoReplace, kExchange };

struct FileSystemSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t inodes = 0;
};

// The file's bytes [file_offset, +length) are the chunk's [chunk_offset, +length).
struct Extent {
  uint64_t file_offset = 0;
  uint64_t length = 0;
  ChunkId chunk;
  uint64_t chunk_offset = 0;
  bool operator==(const Extent&) const = default;
};

// Where a file's bytes are.
struct Layout {
  std::vector<Extent> extents;  // in order, not overlapping; gaps are holes
  std::map<ChunkId, ChunkPlace> chunks;
  std::optional<ChunkGrant> tail;  // the open chunk at the end of the file
  std::optional<std::string> inline_data;
};

}  // namespace moraine::fs
