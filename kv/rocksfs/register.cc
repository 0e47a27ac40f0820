#include "kv/rocksfs/register.h"

#include <rocksdb/utilities/object_registry.h>

#include <cstdlib>

#include "base/log.h"
#include "kv/rocksfs/connections.h"
#include "kv/rocksfs/file_system.h"
#include "kv/rocksfs/uri.h"

namespace moraine::rocksfs {
namespace {

rocksdb::FileSystem* Make(const std::string& uri, std::unique_ptr<rocksdb::FileSystem>* guard,
                          std::string* message) {
  Result<std::unique_ptr<rocksdb::FileSystem>> made = OpenFileSystem(uri);
  if (!made.ok()) {
    *message = made.status().message();
    return nullptr;
  }
  *guard = *std::move(made);
  return guard->get();
}

}  // namespace

Result<std::unique_ptr<rocksdb::FileSystem>> OpenFileSystem(const std::string& text) {
  MORAINE_ASSIGN_OR_RETURN(const Uri uri, ParseUri(text, std::getenv("MORAINE_METASERVER")));
  if (uri.log.has_value()) SetLogLevel(*uri.log);
  MORAINE_ASSIGN_OR_RETURN(std::shared_ptr<Volume> volume, Connect(uri));
  return std::make_unique<MoraineFileSystem>(std::move(volume), uri.root, uri.policies);
}

void RegisterFileSystem() {
  rocksdb::ObjectLibrary::Default()->AddFactory<rocksdb::FileSystem>(
      rocksdb::ObjectLibrary::PatternEntry("moraine", false).AddSeparator("://", false), Make);
}

}  // namespace moraine::rocksfs
