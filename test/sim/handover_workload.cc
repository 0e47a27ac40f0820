#include "test/sim/handover_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {
namespace {

constexpr size_t kYoung = 2;  // few, so that they meet in the same file
constexpr size_t kPiecesMax = 30;
constexpr size_t kKept = 3;

using Pieces = std::map<uint64_t, HandedFile::Piece>;

// Empty when the file has all of these; otherwise what it lacks.
std::string Missing(const Pieces& synced, const std::string& bytes) {
  for (const auto& [offset, piece] : synced) {
    if (offset + piece.size > bytes.size()) {
      return fmt::format("ends at {}, but [{}, +{}) was synced", bytes.size(), offset, piece.size);
    }
    if (bytes.compare(offset, piece.size, BytesOfKey(piece.key, 0, piece.size)) != 0) {
      return fmt::format("has other bytes at [{}, +{}) than were synced", offset, piece.size);
    }
  }
  return {};
}

}  // namespace

Task<void> HandoverWorkload::Run(fs::Client& client) {
  std::vector<Kept> kept;  // as long as the client's process
  while (!stage_.stopping) {
    const Status status =
        random_.OneIn(2) ? co_await WorkAsOwner(client, kept) : co_await Work(client, kept);
    if (status.ok()) {
      ++rounds_;
    } else {
      Note(fmt::format("{} fails: {}", number_, status.ToString()));
    }
    co_await Pause(client, 40ms);
  }
  for (const Kept& handle : kept) (co_await client.Close(handle.file)).Ignore();
}

Task<Status> HandoverWorkload::WorkAsOwner(fs::Client& client, std::vector<Kept>& kept) {
  auto owned = co_await client.AcquireDirectory(stage_.handed, fmt::format("handover {}", number_));
  if (!owned.ok()) co_return owned.status();
  const Status worked = co_await Work(client, kept);
  const Status released = co_await client.ReleaseDirectory(stage_.handed);
  co_return worked.ok() ? released : worked;
}

Task<Status> HandoverWorkload::Work(fs::Client& client, std::vector<Kept>& kept) {
  if (!kept.empty() && random_.OneIn(3)) co_return co_await WorkOnKept(client, kept);
  const size_t young = std::min(files_.size(), kYoung);
  const bool fresh = young == 0 || random_.OneIn(6);
  HandedFile* model = fresh ? nullptr : files_[files_.size() - 1 - random_.Uniform(young)].get();
  if (model != nullptr && model->synced.size() >= kPiecesMax) model = nullptr;
  const bool writes = model == nullptr || !random_.OneIn(4);
  const auto mode = writes ? fs::Client::OpenMode::kWrite : fs::Client::OpenMode::kRead;
  auto opened = model == nullptr ? co_await Create(client) : co_await Open(client, *model, mode);
  if (!opened.ok()) co_return opened.status();
  const Kept handle{*opened, model == nullptr ? files_.back().get() : model};
  const Status status = writes ? co_await AppendSome(client, handle) : Status::Ok();
  if (kept.size() < kKept && random_.OneIn(2)) {
    kept.push_back(handle);
    co_return status;
  }
  const Status closed = co_await client.Close(handle.file);
  co_return status.ok() ? closed : status;
}

Task<Status> HandoverWorkload::WorkOnKept(fs::Client& client, std::vector<Kept>& kept) {
  const Kept handle = kept.front();
  kept.erase(kept.begin());
  Status status = co_await Check(client, handle);
  if (status.ok() && random_.OneIn(2)) status = co_await AppendSome(client, handle);
  if (status.ok() && random_.OneIn(2)) {
    kept.push_back(handle);
    co_return status;
  }
  const Status closed = co_await client.Close(handle.file);
  co_return status.ok() ? closed : status;
}

Task<Status> HandoverWorkload::AppendSome(fs::Client& client, const Kept& opened) {
  Status status;
  for (uint64_t i = random_.Between(1, 5); i > 0 && status.ok() && !stage_.stopping; --i) {
    // Lengthens the file or leaves it.
    if (random_.OneIn(4)) status = co_await opened.file->Extend(random_.Uniform(20'000));
    if (status.ok()) status = co_await Append(*opened.file, *opened.model);
    if (random_.OneIn(2)) co_await Pause(client, 20ms);
  }
  co_return status;
}

Task<Result<HandoverWorkload::Opened>> HandoverWorkload::Create(fs::Client& client) {
  const char* const kind = random_.OneIn(2) ? "log" : "dat";  // (5,3) and (3,3)
  auto model = std::make_unique<HandedFile>();
  model->name = fmt::format("{}-{:04}.{}", number_, next_file_++, kind);
  fs::NewEntry entry;
  entry.expect_stream = random_.OneIn(2);
  auto created = co_await client.Create(stage_.handed, model->name, entry, true);
  if (!created.ok()) co_return created.status();
  files_.push_back(std::move(model));
  co_return created->file;
}

Task<Result<HandoverWorkload::Opened>> HandoverWorkload::Open(fs::Client& client,
                                                              const HandedFile& model,
                                                              fs::Client::OpenMode mode) {
  const Pieces due = model.synced;
  const bool by_name = mode == fs::Client::OpenMode::kWrite && random_.OneIn(3);
  Result<Opened> opened = Status(Code::kNotFound, "");
  if (by_name) {
    opened = co_await OpenOrCreate(client, model);
  } else {
    auto found = co_await client.Lookup(stage_.handed, model.name);
    opened = found.ok() ? co_await client.Open(found->inode, mode) : found.status();
  }
  if (opened.code() == Code::kNotFound && !due.empty()) Fail(model.path() + " is gone");
  if (!opened.ok()) co_return opened.status();
  auto bytes = co_await ReadWhole(**opened);
  if (!bytes.ok()) {
    (co_await client.Close(*opened)).Ignore();
    co_return bytes.status();
  }
  const std::string missing = Missing(due, *bytes);
  if (!missing.empty()) Fail(model.path() + " " + missing);
  co_return *opened;
}

Task<Result<HandoverWorkload::Opened>> HandoverWorkload::OpenOrCreate(fs::Client& client,
                                                                      const HandedFile& model) {
  fs::NewEntry entry;
  entry.exclusive = false;
  const bool due = !model.synced.empty();
  auto created = co_await client.Create(stage_.handed, model.name, entry, true);
  if (!created.ok()) co_return created.status();
  if (created->created && due) Fail(model.path() + " was gone");
  co_return created->file;
}

Task<Status> HandoverWorkload::Check(fs::Client& client, const Kept& kept) {
  const Pieces due = kept.model->synced;
  auto found = co_await client.GetAttributes(kept.file->inode());
  if (!found.ok()) co_return found.status();
  // In two reads at once.
  const uint64_t middle = random_.Uniform(found->size + 1);
  auto read = co_await kept.file->ReadRanges({{0, middle}, {middle, found->size - middle}});
  if (!read.ok()) co_return read.status();
  const std::string missing = Missing(due, TextOf((*read)[0]) + TextOf((*read)[1]));
  // A writer that lost bytes sees them until somebody opens the file anew, and cannot sync.
  if (!missing.empty() && kept.file->error().ok()) {
    Fail(fmt::format("{}, as the kept handle of {} reads it, {}", kept.model->path(), number_,
                     missing));
  }
  co_return Status::Ok();
}

Task<Status> HandoverWorkload::Append(fs::File& file, HandedFile& model) {
  ++operations_;
  // In the inode record, then in chunks.
  const uint64_t size = random_.OneIn(8) ? random_.Between(1, 20'000) : random_.Between(1, 700);
  const uint64_t key = stage_.next_key++;
  const std::string bytes = BytesOfKey(key, 0, size);
  auto appended = co_await file.Append(std::as_bytes(std::span(bytes)));
  if (!appended.ok()) co_return appended.status();
  const uint64_t offset = *appended;
  MORAINE_CO_RETURN_IF_ERROR(co_await file.Sync());
  const auto next = model.synced.lower_bound(offset);
  const auto [begin, end] = std::pair(model.synced.begin(), model.synced.end());
  const bool over_next = next != end && next->first < offset + size;
  const bool over_last =
      next != begin && std::prev(next)->first + std::prev(next)->second.size > offset;
  if (over_next || over_last) {
    Fail(fmt::format("{}: a sync of [{}, +{}) is acknowledged, where another was", model.path(),
                     offset, size));
  }
  model.synced[offset] = {size, key};
  co_return Status::Ok();
}

Task<void> HandoverWorkload::Verify(fs::Client& client) {
  if (number_ != 1) co_return;
  for (const auto& model : files_) {
    if (model->synced.empty()) continue;
    auto opened = co_await Open(client, *model, fs::Client::OpenMode::kRead);
    if (!opened.ok()) {
      co_return Fail(model->path() + " cannot be read: " + opened.status().ToString());
    }
    (co_await client.Close(*opened)).Ignore();
  }
}

}  // namespace moraine::simulation
