#include "chunkserver/store/recovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "base/log.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kVerifyBytes = 1ULL << 20;

struct Verified {
  uint64_t end = 0;  // whole blocks from 0 that match
  std::vector<uint64_t> checksums;
};

// Verifies blocks [0, limit) until the first that does not match, cannot be read or is not there.
Task<Result<Verified>> VerifyBlocks(File& file, uint64_t file_bytes, uint64_t limit) {
  Verified verified;
  Buffer page = Buffer::Allocate(kPageBytes);
  Buffer data = Buffer::Allocate(kVerifyBytes);
  while (verified.end < limit) {
    const uint64_t group = verified.end / kGroupBytes;
    const uint64_t group_begin = FileOffsetOf(group * kGroupBytes);
    if (verified.end % kGroupBytes == 0) {
      if (file_bytes < group_begin) break;
      const auto size = co_await file.ReadAt(ChecksumPageOffset(group), page.bytes());
      if (size.code() == Code::kIo) break;
      if (!size.ok()) co_return size.status();
      if (*size < kPageBytes) break;
    }
    const uint64_t at = FileOffsetOf(verified.end);
    const uint64_t group_left = kGroupBytes - verified.end % kGroupBytes;
    const uint64_t there = file_bytes > at ? file_bytes - at : 0;
    const uint64_t want =
        BlockFloor(std::min({kVerifyBytes, group_left, there, limit - verified.end}));
    if (want == 0) break;
    const auto size = co_await file.ReadAt(at, data.bytes().first(want));
    if (size.code() == Code::kIo) break;
    if (!size.ok()) co_return size.status();
    for (uint64_t done = 0; done + limits::kBlockBytes <= *size; done += limits::kBlockBytes) {
      const uint64_t index = verified.end / limits::kBlockBytes % kGroupBlocks;
      const uint64_t checksum = LoadLittle64(page.data() + index * sizeof(uint64_t));
      if (BlockChecksum(data.bytes().subspan(done, limits::kBlockBytes)) != checksum)
        co_return verified;
      verified.checksums.push_back(checksum);
      verified.end += limits::kBlockBytes;
    }
    if (*size < want) break;
  }
  co_return verified;
}

// Writes blocks [begin, end) once more, as they are. They are in the file, but no STATE record
// vouches for them: a flush that failed in an earlier life may have left them in the page cache
// alone, where no flush of ours would find anything to write. Returns how far it came; what is
// behind cannot be believed.
Task<uint64_t> WriteBlocksAgain(StoreContext& context, File& file, const ChunkHeader& header,
                                uint64_t begin, uint64_t end,
                                const std::vector<uint64_t>& checksums) {
  Buffer page = Buffer::Allocate(kPageBytes);
  EncodeChunkHeader(header, page.bytes());
  const ConstBytes first = page.bytes();
  Status status = context.NoteWrite(co_await file.WriteAt(0, std::span(&first, 1)));
  Buffer data = Buffer::Allocate(kVerifyBytes);
  while (status.ok() && begin < end) {
    const uint64_t group_left = kGroupBytes - begin % kGroupBytes;
    const MutableBytes bytes =
        data.bytes().first(std::min({kVerifyBytes, group_left, end - begin}));
    const auto size = co_await file.ReadAt(FileOffsetOf(begin), bytes);
    if (!size.ok() || *size < bytes.size()) break;
    const std::span expected = std::span(checksums).subspan(begin / limits::kBlockBytes,
                                                            bytes.size() / limits::kBlockBytes);
    if (!CheckPieces(begin, bytes, expected).ok()) break;
    const ConstBytes piece = bytes;
    status = context.NoteWrite(co_await file.WriteAt(FileOffsetOf(begin), std::span(&piece, 1)));
    if (status.ok()) begin += bytes.size();
  }
  co_return begin;
}

}  // namespace

void JournalReplay::Apply(uint64_t sequence, const DecodedRecord& record) {
  ReplayedReplica& replica = replicas_[record.chunk][record.incarnation];
  replica.chunk = record.chunk;
  replica.incarnation = record.incarnation;
  // A sealed replica that only its file knew is deleted behind the DONE of its seal.
  const bool deletion = record.kind == RecordKind::kDelete || record.kind == RecordKind::kTombstone;
  if (replica.done && !deletion) return;
  switch (record.kind) {
    case RecordKind::kState:
      if (replica.deleted || replica.sealed || replica.damaged) return;
      replica.has_state = true;
      replica.epoch = std::max(replica.epoch, record.epoch);
      replica.origin = record.origin;
      replica.file_length = record.number;
      replica.bytes.assign(record.bytes.begin(), record.bytes.end());
      replica.gap = false;
      replica.first_frame = replica.state_frame = sequence;
      return;
    case RecordKind::kDamaged:
      if (replica.deleted) return;
      replica.has_state = replica.damaged = true;
      replica.epoch = std::max(replica.epoch, record.epoch);
      replica.origin = record.origin;
      replica.file_length = 0;
      replica.bytes.clear();
      replica.first_frame = replica.state_frame = sequence;
      return;
    case RecordKind::kAppend: {
      if (!replica.has_state || replica.sealed || replica.damaged) return;
      if (record.number > replica.end()) {
        replica.gap = true;
        return;
      }
      const uint64_t known = replica.end() - record.number;
      if (record.bytes.size() <= known) return;
      replica.bytes.insert(replica.bytes.end(),
                           record.bytes.begin() + static_cast<ptrdiff_t>(known),
                           record.bytes.end());
      return;
    }
    case RecordKind::kFence:
      replica.epoch = std::max(replica.epoch, record.epoch);
      return;
    case RecordKind::kSeal:
      if (!replica.has_state) return;
      replica.sealed = true;
      replica.epoch = std::max(replica.epoch, record.epoch);
      replica.sealed_length = record.number;
      replica.seal_block.assign(record.bytes.begin(), record.bytes.end());
      return;
    case RecordKind::kTombstone:
      // Nothing else counts any more: if there was a replica, this is its deletion.
      replica.has_state = replica.sealed = replica.damaged = replica.gap = replica.done = false;
      replica.bytes.clear();
      replica.tombstone = true;
      replica.epoch = std::max(replica.epoch, record.epoch);
      replica.first_frame = replica.state_frame = sequence;
      return;
    case RecordKind::kDelete:
      replica.done = false;
      replica.deleted = true;
      if (replica.first_frame == 0) replica.first_frame = sequence;
      return;
    case RecordKind::kDone:
      replica.done = true;
      replica.bytes = {};
      return;
  }
}

void JournalReplay::Visit(uint64_t sequence, const std::vector<DecodedRecord>& records) {
  for (const DecodedRecord& record : records) Apply(sequence, record);
}

std::map<ChunkId, ReplayedReplica> JournalReplay::Take() {
  std::map<ChunkId, ReplayedReplica> alive;
  for (auto& [chunk, incarnations] : replicas_) {
    for (auto& [incarnation, replica] : incarnations) {
      if (replica.done || !(replica.has_state || replica.deleted || replica.tombstone)) continue;
      const auto [at, fresh] = alive.try_emplace(chunk);
      // A replica that was made in a tombstone's place may stand in one frame with it.
      const auto age = [](const ReplayedReplica& r) {
        return std::pair(r.first_frame, r.has_state);
      };
      if (fresh || age(at->second) < age(replica)) at->second = std::move(replica);
    }
  }
  replicas_.clear();
  return alive;
}

Task<Result<std::vector<ChunkId>>> ListChunkFiles(StoreContext& context) {
  std::vector<ChunkId> chunks;
  for (unsigned i = 0; i < kChunkDirectories; ++i) {
    const std::string directory = context.PathOf(ChunkDirectory(ChunkId(i)));
    // After a kill, a name may be seen that a power cut would still take away, or the reverse.
    MORAINE_CO_RETURN_IF_ERROR(co_await context.loop.disk().SyncDirectory(directory));
    auto entries = co_await context.loop.disk().List(directory);
    if (!entries.ok()) co_return entries.status();
    for (const DirectoryEntry& entry : *entries) {
      const auto chunk = ParseChunkFileName(entry.name);
      if (chunk.ok() && chunk->value() % kChunkDirectories == i) {
        chunks.push_back(*chunk);
      } else {
        LogWarning("{}/{} is no chunk file; it is left alone", directory, entry.name);
      }
    }
  }
  co_return chunks;
}

namespace {

Task<Result<FoundFile>> ReadChunkFile(StoreContext& context, ChunkId chunk) {
  FoundFile found;
  auto file = co_await context.loop.disk().Open(context.PathOf(ChunkPath(chunk)), {});
  if (!file.ok()) co_return file.status();
  MORAINE_CO_ASSIGN_OR_RETURN(found.bytes, co_await (*file)->Size());
  Buffer page = Buffer::Allocate(kPageBytes);
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await (*file)->ReadAt(0, page.bytes()));
  auto header = DecodeChunkHeader(page.bytes().first(size));
  found.status = header.status();
  if (header.ok()) found.header = std::move(*header);
  if (found.status.ok() && found.header.chunk != chunk) {
    found.status = Status(Code::kCorruption, fmt::format("the file's header is of chunk {}",
                                                         found.header.chunk.value()));
  }
  co_return found;
}

}  // namespace

Task<Result<FoundFile>> InspectChunkFile(StoreContext& context, ChunkId chunk) {
  Result<FoundFile> found = co_await ReadChunkFile(context, chunk);
  if (found.code() != Code::kIo) co_return found;
  // Damage of this replica; the others are good.
  FoundFile unreadable;
  unreadable.status = found.status();
  co_return unreadable;
}

Task<Result<OpenReplica::Found>> RecoverReplica(StoreContext& context, ReplayedReplica replayed,
                                                const FoundFile* file) {
  const bool sealed = replayed.sealed;
  const uint64_t whole = sealed ? BlockFloor(replayed.sealed_length) : limits::kChunkBytesMax;
  const uint64_t required = std::min(replayed.file_length, whole);
  const std::optional<uint64_t> seal =
      sealed ? std::optional<uint64_t>(replayed.sealed_length) : std::nullopt;
  Verified verified;
  std::shared_ptr<File> handle;
  if (file != nullptr) {
    OpenOptions options;
    options.write = options.direct = true;
    auto opened =
        co_await context.loop.disk().Open(context.PathOf(ChunkPath(replayed.chunk)), options);
    if (!opened.ok()) co_return opened.status();
    handle = std::move(*opened);
    MORAINE_CO_ASSIGN_OR_RETURN(verified, co_await VerifyBlocks(*handle, file->bytes, whole));
  }
  if (handle != nullptr && !replayed.damaged && (required == 0 || verified.end > required)) {
    verified.end = co_await WriteBlocksAgain(context, *handle, file->header, required, verified.end,
                                             verified.checksums);
    verified.checksums.resize(verified.end / limits::kBlockBytes);
  }
  const bool complete = !sealed || std::max(verified.end, replayed.end()) >= whole;
  const bool damaged = replayed.damaged || replayed.gap || verified.end < required || !complete;
  OpenReplica::Found found(
      protocol::AppendReplica::Reopened(replayed.chunk, replayed.epoch, verified.end, seal));
  found.damaged = damaged;
  found.flushed = verified.end;
  found.file_length = std::min(required, verified.end);
  found.checksums = std::move(verified.checksums);
  found.file = std::move(handle);
  found.first_frame = replayed.first_frame;
  if (damaged) {
    LogError("chunk {}: {} bytes are in its file, {} should be; the replica is damaged",
             replayed.chunk.value(), found.flushed, required);
    co_return found;
  }
  const uint64_t end = std::min(std::max(found.flushed, replayed.end()), whole);
  if (end > found.flushed) {
    const auto from =
        replayed.bytes.begin() + static_cast<ptrdiff_t>(found.flushed - replayed.file_length);
    found.tail.assign(from, from + static_cast<ptrdiff_t>(end - found.flushed));
  }
  // Blocks behind the first bad one would come back to life when the replica grows again. (A sealed
  // file is cut when it is completed.)
  const uint64_t file_bytes = ChunkFileBytes(found.flushed);
  if (!sealed && found.file != nullptr && file->bytes > file_bytes) {
    context.NoteWrite(co_await found.file->Truncate(file_bytes)).Ignore();
  }
  found.seal_block = std::move(replayed.seal_block);
  if (sealed) {
    found.rules = protocol::AppendReplica::Reopened(replayed.chunk, replayed.epoch,
                                                    replayed.sealed_length, seal);
    co_return found;
  }
  // Blocks that only the file has are written, and not synced before a STATE record counts on them.
  const uint64_t vouched = std::min(replayed.end(), end);
  found.rules =
      protocol::AppendReplica::Reopened(replayed.chunk, replayed.epoch, vouched, std::nullopt);
  if (vouched < end) {
    const auto verdict = found.rules.Copy(replayed.epoch, vouched, end - vouched);
    MORAINE_CHECK(verdict.ok() && found.rules.OnWritten(replayed.epoch, end));
  }
  co_return found;
}

}  // namespace moraine::chunkserver
