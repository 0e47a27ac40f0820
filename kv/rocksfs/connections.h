// The process's connections: one session per connection key (uri.h), shared by all FileSystem
// objects of that key, closed with the last of them.
//
// RocksDB keeps FileSystem objects in static places, so many a program ends without destroying
// them. At exit() every connection that is left is closed in good order within a short bound (what
// is gathered is sent, the session ends); file systems that are used or destroyed after that find
// it closed. The process's end by a signal leaves the session to its time-to-live.
#pragma once

#include <memory>

#include "kv/rocksfs/uri.h"
#include "kv/rocksfs/volume.h"

namespace moraine::rocksfs {

// Any thread. The first call of a process may take up to the URI's timeout. Errors: those of
// beginning a session; kCanceled while the process ends.
Result<std::shared_ptr<Volume>> Connect(const Uri& uri);

}  // namespace moraine::rocksfs
