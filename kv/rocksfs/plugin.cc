// The shared object's only initialiser. A preloaded library is loaded into every child process too,
// so this registers and does nothing else.
#include "kv/rocksfs/register.h"

namespace {

const bool registered = [] {
  moraine::rocksfs::RegisterFileSystem();
  return true;
}();

}  // namespace

// For those who want to know whether the plugin is there (dlsym).
extern "C" __attribute__((visibility("default"))) bool moraine_rocksdb_is_registered() {
  return registered;
}
