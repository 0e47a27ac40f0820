// How RocksDB finds this file system: a factory for moraine:// in its registry.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <string>

#include "base/status.h"

namespace moraine::rocksfs {

// Makes `moraine://...` known to FileSystem::CreateFromString, Env::CreateFromUri and so to every
// --fs_uri. Only registers: no thread, socket or file comes into being before a URI is used.
void RegisterFileSystem();

// A file system for a URI (uri.h). Errors: kInvalidArgument, those of connecting.
Result<std::unique_ptr<rocksdb::FileSystem>> OpenFileSystem(const std::string& uri);

}  // namespace moraine::rocksfs
