// Written bytes that nobody had synced and that are gone: more servers than the policy allows have
// lost their power since. Each file counts how often that has happened. A writer says with its
// changes how many losses it knows of; one that knows fewer believes in bytes that are gone, and is
// refused before it puts others behind them or calls them synced.
#pragma once

#include <cstdint>
#include <optional>

#include "metaserver/store/records.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

// `chunk` was sealed shorter than what was mapped of it: takes the lost bytes out of its file.
// Bytes of a stream take along all that follows them: a file has no hole that nobody made. None of
// that was synced: a sync waits for the disks of every chunk that was closed before it. Those of a
// loose chunk become the hole again over which they were written. Writes the inode's record.
Status TakeLoss(Transaction& transaction, ChunkId id, const ChunkRecord& chunk, bool of_stream);

// kIo when `known` is not all of the file's losses; none: the caller does not say.
Status CheckKnowsLosses(InodeId inode, const InodeRecord& record, std::optional<uint32_t> known);

}  // namespace moraine::metaserver
