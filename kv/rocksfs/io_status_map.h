// Our statuses as RocksDB's. Total: every code has its place.
//
// What RocksDB does with them (7.8, db/error_handler.cc, db_impl_write.cc) decides:
//   IOFenced            stops the database for good; another owner has taken the directory
//   IOError, retryable  a passing failure: RocksDB resumes by itself
//   NoSpace             RocksDB waits for space and resumes
//   Corruption          with the data-loss flag: stops; the message names the file
// Busy, Incomplete and TimedOut are never given: RocksDB does not count Busy and Incomplete of a
// WAL write as errors and would go on over a hole.
#pragma once

#include <rocksdb/io_status.h>

#include <string_view>

#include "base/status.h"

namespace moraine::rocksfs {

// How "it is not there" is said: RocksDB looks for PathNotFound from calls that open or change a
// file, and for NotFound from those that ask (FileExists, GetChildren).
enum class Missing { kAsPathNotFound, kAsNotFound };

rocksdb::IOStatus ToIoStatus(const Status& status, std::string_view path,
                             Missing missing = Missing::kAsPathNotFound);

}  // namespace moraine::rocksfs
