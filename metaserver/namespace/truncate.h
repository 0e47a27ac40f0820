// Setting a file's size, as setattr, open and commit do it.
#pragma once

#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

// Shrinking cuts extents, growing makes a hole. Does not write the record. kIsDirectory,
// kInvalidArgument, kTooLarge; kLeaseTaken with a recovery in the effects while a tail is open.
Status Truncate(Transaction& transaction, InodeId inode, InodeRecord& record, uint64_t size);

}  // namespace moraine::metaserver
