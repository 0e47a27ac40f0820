// Paths as RocksDB gives them, and what a file's name says about it.
//
// RocksDB tells a file system nothing about the use of a file (IOOptions::type is always kUnknown),
// so the name decides how many copies its bytes get.
#pragma once

#include <string>
#include <string_view>

namespace moraine::rocksfs {

// Absolute, without "//", "." and "..", without a slash at the end; the root is "/". A relative
// path counts from the root, and ".." does not lead above it.
std::string NormalizePath(std::string_view path);

// `path` below `root`; both are normalized first, so `path` cannot leave `root`.
std::string PathBelow(std::string_view root, std::string_view path);

// A normalized path as directory and name. The root has no name.
struct SplitPath {
  std::string directory;
  std::string name;
};
SplitPath Split(std::string_view normalized);

// Whether `path` is `directory` or lies in it; both normalized.
bool IsWithin(std::string_view path, std::string_view directory);

// What RocksDB keeps in a file of this name (a path's last part).
enum class FileKind {
  kState,  // write-ahead logs, MANIFEST, CURRENT, OPTIONS, IDENTITY, and what is renamed to them
  kTable,  // SSTables and blob files: written once
  kOther,  // info logs, LOCK, files of users
};
FileKind KindOf(std::string_view name);

// RocksDB's info log, which it begins before it locks the directory.
bool IsInfoLog(std::string_view name);

// Whether RocksDB will append more to a file of this name than fits into an inode record.
bool GrowsAsStream(std::string_view name);

// The names of the policies to ask for; an empty name leaves it to the directory's rules.
struct PolicyNames {
  std::string state = "log";
  std::string table = "immutable";
  std::string other;
  bool operator==(const PolicyNames&) const = default;
};
const std::string& PolicyFor(std::string_view name, const PolicyNames& policies);

}  // namespace moraine::rocksfs
