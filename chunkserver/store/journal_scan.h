// Reads a journal at start: which frames are there, and whether any that were acknowledged are not
// (JOURNAL.md section 5).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/loop/loop.h"
#include "chunkserver/store/journal_format.h"

namespace moraine::chunkserver {

struct JournalScan {
  JournalHeader header;
  std::vector<FrameHeader>
      live;  // from the tail to the newest, in order; damaged ones are left out
  uint64_t next_sequence = 1;
  uint64_t next_position = 0;
  bool damaged = false;        // a frame that was acknowledged is, or may be, missing or bad
  uint64_t damaged_until = 0;  // then: the highest sequence that is missing
};

// Reads the headers of the whole file, one MiB at a time. A place that cannot be read may have held
// anything: it is damage. Errors: kCorruption, kWrongVersion or kIo of the journal's own header.
Task<Result<JournalScan>> ScanJournal(File& file);

// Reads the live frames in order, gives each one's records to `visit`, and notes bad frames in
// `scan`. Error: kIo.
Task<Status> ReplayJournal(
    File& file, JournalScan& scan,
    std::function<void(uint64_t sequence, const std::vector<DecodedRecord>& records)> visit);

}  // namespace moraine::chunkserver
