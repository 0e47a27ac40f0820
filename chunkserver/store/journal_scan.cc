#include "chunkserver/store/journal_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/buffer.h"
#include "base/log.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kScanBytes = 1ULL << 20;

// Fewer bytes than the frame has, if they cannot be read.
Task<Result<Buffer>> ReadFrame(File& file, const JournalHeader& journal, const FrameHeader& header,
                               bool* unreadable) {
  Buffer frame = Buffer::Allocate(header.frame_bytes);
  const uint64_t at = kJournalPrefixBytes + header.position % journal.region_bytes;
  const auto size = co_await file.ReadAt(at, frame.bytes());
  if (!size.ok() && size.code() != Code::kIo) co_return size.status();
  if (!size.ok()) *unreadable = true;
  frame.Shrink(size.ok() ? *size : 0);
  co_return frame;
}

// Zeros stand for the pages that cannot be read.
Task<Status> ReadReadablePages(File& file, uint64_t at, MutableBytes pages) {
  for (; !pages.empty(); pages = pages.subspan(kPageBytes), at += kPageBytes) {
    const auto size = co_await file.ReadAt(at, pages.first(kPageBytes));
    if (!size.ok() && size.code() != Code::kIo) co_return size.status();
    if (!size.ok() || *size < kPageBytes) std::memset(pages.data(), 0, kPageBytes);
  }
  co_return Status::Ok();
}

// All frame headers that lie where they say they should, by sequence. After a torn write and a
// wrap, two places may claim one sequence.
Task<Result<std::multimap<uint64_t, FrameHeader>>> ReadHeaders(File& file, JournalHeader journal,
                                                               bool* unreadable) {
  std::multimap<uint64_t, FrameHeader> found;
  Buffer piece = Buffer::Allocate(kScanBytes);
  for (uint64_t at = 0; at < journal.region_bytes; at += kScanBytes) {
    const uint64_t want = std::min(kScanBytes, journal.region_bytes - at);
    const MutableBytes pages = piece.bytes().first(want);
    auto size = co_await file.ReadAt(kJournalPrefixBytes + at, pages);
    if (size.code() == Code::kIo) {
      *unreadable = true;
      MORAINE_CO_RETURN_IF_ERROR(co_await ReadReadablePages(file, kJournalPrefixBytes + at, pages));
      size = want;
    }
    if (!size.ok()) co_return size.status();
    if (*size < want)
      co_return Status(Code::kCorruption, "the journal is shorter than its header says");
    for (uint64_t page = 0; page < want; page += kPageBytes) {
      const auto header = PeekFrameHeader(piece.bytes().subspan(page, kPageBytes), journal.id);
      if (!header || header->position % journal.region_bytes != at + page) continue;
      if (at + page + header->frame_bytes > journal.region_bytes) continue;
      found.emplace(header->sequence, *header);
    }
  }
  co_return found;
}

}  // namespace

Task<Result<JournalScan>> ScanJournal(File& file) {
  JournalScan scan;
  Buffer page = Buffer::Allocate(kPageBytes);
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await file.ReadAt(0, page.bytes()));
  MORAINE_CO_ASSIGN_OR_RETURN(scan.header, DecodeJournalHeader(page.bytes().first(size)));
  MORAINE_CO_ASSIGN_OR_RETURN(const auto found,
                              co_await ReadHeaders(file, scan.header, &scan.damaged));

  // The newest whole frame. One sequence above it may be there and torn; more, or a hole below the
  // torn one, means that an acknowledged frame is lost.
  const uint64_t highest = found.empty() ? 0 : found.rbegin()->first;
  std::optional<FrameHeader> newest;
  for (auto it = found.rbegin(); it != found.rend() && !newest; ++it) {
    MORAINE_CO_ASSIGN_OR_RETURN(Buffer frame,
                                co_await ReadFrame(file, scan.header, it->second, &scan.damaged));
    if (CheckFrame(it->second, frame.bytes()).ok()) newest = it->second;
  }
  const uint64_t newest_sequence = newest ? newest->sequence : 0;
  if (highest > newest_sequence + 1) {
    scan.damaged = true;
    scan.damaged_until = highest - 1;
  }
  // After damage, new frames must still come after everything that was ever acknowledged.
  scan.next_sequence = scan.damaged ? highest + 1 : newest_sequence + 1;
  if (!newest) co_return scan;
  scan.next_position = newest->position + newest->frame_bytes;
  uint64_t position = 0;
  for (uint64_t sequence = newest->tail; sequence <= newest->sequence; ++sequence) {
    const auto [begin, end] = found.equal_range(sequence);
    if (begin == end) {
      scan.damaged = true;
      scan.damaged_until = std::max(scan.damaged_until, sequence);
      continue;
    }
    // Of two claims to a sequence the torn one is not whole.
    FrameHeader chosen = begin->second;
    for (auto it = begin; it != end && std::next(begin) != end; ++it) {
      MORAINE_CO_ASSIGN_OR_RETURN(Buffer frame,
                                  co_await ReadFrame(file, scan.header, it->second, &scan.damaged));
      if (CheckFrame(it->second, frame.bytes()).ok()) chosen = it->second;
    }
    if (chosen.position < position) {
      scan.damaged = true;
      scan.damaged_until = std::max(scan.damaged_until, sequence);
      continue;
    }
    position = chosen.position + chosen.frame_bytes;
    scan.live.push_back(chosen);
  }
  co_return scan;
}

Task<Status> ReplayJournal(
    File& file, JournalScan& scan,
    std::function<void(uint64_t sequence, const std::vector<DecodedRecord>& records)> visit) {
  std::vector<FrameHeader> good;
  for (const FrameHeader& header : scan.live) {
    MORAINE_CO_ASSIGN_OR_RETURN(Buffer frame,
                                co_await ReadFrame(file, scan.header, header, &scan.damaged));
    Status status = CheckFrame(header, frame.bytes());
    if (status.ok()) {
      auto records = DecodeRecords(header, frame.bytes());
      status = records.status();
      if (records.ok()) visit(header.sequence, *records);
    }
    if (status.ok()) {
      good.push_back(header);
    } else {
      LogError("journal: {}", status.message());
      scan.damaged = true;
      scan.damaged_until = std::max(scan.damaged_until, header.sequence);
    }
  }
  scan.live = std::move(good);
  co_return Status::Ok();
}

}  // namespace moraine::chunkserver
