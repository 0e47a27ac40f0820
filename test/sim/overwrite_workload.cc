#include "test/sim/overwrite_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {
namespace {

constexpr uint64_t kCell = OverwriteModel::kCellBytes;

// In the inode record, at its border, and in chunks.
uint64_t SomeCells(Random& random) {
  switch (random.Uniform(4)) {
    case 0:
      return random.Between(5, 40);
    case 1:
      return random.Between(35, 100);
    default:
      return random.Between(200, 3'000);
  }
}

}  // namespace

Task<void> OverwriteWorkload::Run(fs::Client& client) {
  while (!stage_.stopping) {
    const std::shared_ptr<fs::File> file = co_await Begin(client);
    if (file != nullptr) {
      const Status status = co_await Work(client, *file);
      const uint64_t cuts = stage_.meta_cuts;
      const Status closed = co_await client.Close(file);
      if (status.ok() && closed.ok()) {
        current_->model.Flushed(cuts);
        ++rounds_;
      } else {
        Note(current_->model.path() + " fails: " + (status.ok() ? closed : status).ToString());
      }
    }
    if (current_ != nullptr) current_->busy = false;
    current_ = nullptr;
    co_await Pause(client, random_.OneIn(2) ? 3ms : 40ms);
  }
}

// One of the young files that nobody works at.
Changed* OverwriteWorkload::Old() {
  std::vector<Changed*> young;
  for (auto it = files_.rbegin(); it != files_.rend() && young.size() < 4; ++it) {
    if (!(*it)->busy && !(*it)->doubtful) young.push_back(it->get());
  }
  return young.empty() ? nullptr : random_.Pick(young);
}

Task<std::shared_ptr<fs::File>> OverwriteWorkload::Begin(fs::Client& client) {
  current_ = random_.OneIn(4) ? nullptr : Old();
  if (current_ == nullptr) co_return co_await BeginNew(client);
  current_->busy = true;
  co_return co_await GoOn(client);
}

Task<std::shared_ptr<fs::File>> OverwriteWorkload::BeginNew(fs::Client& client) {
  const char* const kind = random_.OneIn(2) ? "log" : "dat";  // (5,3) and (3,3)
  const std::string name = fmt::format("{}-{:04}.{}", number_, next_file_++, kind);
  files_.push_back(std::make_unique<Changed>(
      Changed{.model = OverwriteModel(stage_, "/changed/" + name, SomeCells(random_)),
              .name = name,
              .inode = {},
              .busy = true}));
  Changed* const file = current_ = files_.back().get();
  fs::NewEntry entry;
  entry.expect_stream = random_.OneIn(2);
  auto created = co_await client.Create(stage_.changed, name, entry, true);
  if (!created.ok()) {
    Note(file->model.path() + " is not made: " + created.status().ToString());
    co_return nullptr;
  }
  file->doubtful = false;
  file->inode = created->attributes.inode;
  file->model.NewOpening();
  image_.clear();
  co_return created->file;
}

Task<std::shared_ptr<fs::File>> OverwriteWorkload::GoOn(fs::Client& client) {
  Changed& changed = *current_;
  auto opened = co_await client.Open(changed.inode, fs::Client::OpenMode::kWrite);
  if (!opened.ok()) {
    if (opened.code() == Code::kNotFound) {
      if (changed.durable_name) Fail(changed.model.path() + " is gone");
      changed.doubtful = true;
    }
    co_return nullptr;
  }
  auto bytes = co_await ReadWhole(**opened);
  if (!bytes.ok()) {
    if (bytes.code() == Code::kCorruption) {
      Fail(changed.model.path() + ": " + bytes.status().ToString());
    }
    (co_await client.Close(*opened)).Ignore();
    co_return nullptr;
  }
  const std::string difference = changed.model.Difference(*bytes);
  if (!difference.empty()) Fail(difference);
  changed.model.NewOpening();
  image_ = std::move(*bytes);
  co_return *opened;
}

Task<Status> OverwriteWorkload::Work(fs::Client& client, fs::File& file) {
  for (uint64_t i = random_.Between(1, 12); i > 0 && !stage_.stopping; --i) {
    ++operations_;
    switch (random_.Uniform(12)) {
      case 0:
      case 1:
        MORAINE_CO_RETURN_IF_ERROR(co_await AppendSome(file));
        break;
      case 2:
        MORAINE_CO_RETURN_IF_ERROR(co_await Resize(file));
        break;
      case 3:
      case 4:
        MORAINE_CO_RETURN_IF_ERROR(co_await ReadOwn(file));
        break;
      case 5:
      case 6:
        MORAINE_CO_RETURN_IF_ERROR(co_await Store(file));
        break;
      default:
        MORAINE_CO_RETURN_IF_ERROR(co_await WriteSome(file));
        break;
    }
    if (random_.OneIn(4)) co_await Pause(client, 20ms);
  }
  co_return Status::Ok();
}

std::string OverwriteWorkload::NewBytes(uint64_t first, uint64_t count) {
  const uint64_t key = stage_.next_key++;
  current_->model.MayBe(first, count, key);
  return BytesOfKey(key, first * kCell, count * kCell);
}

void OverwriteWorkload::PadTo(uint64_t size) {
  if (size <= image_.size()) return;
  const uint64_t end = (image_.size() + kCell - 1) / kCell;
  if (image_.size() % kCell != 0) {  // an append that was lost in its middle
    std::string last = image_.substr((end - 1) * kCell);
    last.resize(kCell);
    current_->model.MayBeBytes(end - 1, std::move(last));
  }
  current_->model.MayBe(end, size / kCell - end, OverwriteModel::kZeros);
}

void OverwriteWorkload::ImageHas(uint64_t offset, const std::string& bytes) {
  image_.resize(std::max<size_t>(image_.size(), offset + bytes.size()));
  image_.replace(offset, bytes.size(), bytes);
}

Task<Status> OverwriteWorkload::WriteSome(fs::File& file) {
  const uint64_t cells = current_->model.cells();
  const uint64_t first = random_.Uniform(cells);
  const uint64_t most = random_.OneIn(5) ? cells : 12;
  const uint64_t count = std::min(cells - first, random_.Between(1, most));
  PadTo(first * kCell);
  current_->model.MayEndAt(std::max<uint64_t>(image_.size(), (first + count) * kCell));
  const std::string bytes = NewBytes(first, count);
  MORAINE_CO_RETURN_IF_ERROR(co_await file.Write(first * kCell, std::as_bytes(std::span(bytes))));
  ImageHas(first * kCell, bytes);
  co_return Status::Ok();
}

Task<Status> OverwriteWorkload::AppendSome(fs::File& file) {
  const uint64_t first = image_.size() / kCell;
  if (image_.size() % kCell != 0 || first == current_->model.cells()) co_return Status::Ok();
  const uint64_t room = current_->model.cells() - first;
  const uint64_t count = std::min(room, random_.Between(1, random_.OneIn(3) ? 400 : 10));
  current_->model.MayEndAt((first + count) * kCell);
  const std::string bytes = NewBytes(first, count);
  auto appended = co_await file.Append(std::as_bytes(std::span(bytes)));
  if (!appended.ok()) co_return appended.status();
  if (*appended != first * kCell) {
    Fail(fmt::format("{}: appended at {} instead of {}", current_->model.path(), *appended,
                     first * kCell));
  }
  ImageHas(first * kCell, bytes);
  co_return Status::Ok();
}

Task<Status> OverwriteWorkload::Resize(fs::File& file) {
  const uint64_t cells = random_.Uniform(current_->model.cells() + 1);
  const uint64_t end = (image_.size() + kCell - 1) / kCell;
  const bool extend = random_.OneIn(2);
  if (cells < end && !extend) {
    current_->model.MayBe(cells, end - cells, OverwriteModel::kAbsent);
    current_->model.MayEndAt(cells * kCell);
    MORAINE_CO_RETURN_IF_ERROR(co_await file.Truncate(cells * kCell));
    image_.resize(cells * kCell);
    co_return Status::Ok();
  }
  PadTo(cells * kCell);
  current_->model.MayEndAt(std::max<uint64_t>(image_.size(), cells * kCell));
  MORAINE_CO_RETURN_IF_ERROR(co_await file.Extend(cells * kCell));
  image_.resize(std::max(image_.size(), cells * kCell));
  co_return Status::Ok();
}

Task<Status> OverwriteWorkload::Store(fs::File& file) {
  const uint64_t cuts = stage_.meta_cuts;
  if (random_.OneIn(2)) {
    MORAINE_CO_RETURN_IF_ERROR(co_await file.Flush());
    current_->model.Flushed(cuts);
    co_return Status::Ok();
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await file.Sync());
  current_->model.Synced(image_);
  current_->durable_name = true;
  co_return Status::Ok();
}

Task<Status> OverwriteWorkload::ReadOwn(fs::File& file) {
  const std::string& path = current_->model.path();
  if (file.size() != image_.size()) {
    Fail(fmt::format("{} has {} bytes for its writer instead of {}", path, file.size(),
                     image_.size()));
  }
  if (image_.empty()) co_return Status::Ok();
  const uint64_t offset = random_.Uniform(image_.size());
  const uint64_t length = std::min(image_.size() - offset, random_.Between(1, 50'000));
  auto read = co_await file.Read(offset, length);
  if (!read.ok()) co_return read.status();
  const std::string bytes = TextOf(*read);
  const std::string right = image_.substr(offset, length);
  if (bytes == right) co_return Status::Ok();
  const auto at = std::ranges::mismatch(bytes, right).in1 - bytes.begin();
  Fail(fmt::format("{}: its writer reads a wrong byte at {} of [{}, +{})", path,
                   offset + static_cast<uint64_t>(at), offset, length));
  co_return Status::Ok();
}

Task<void> OverwriteWorkload::Verify(fs::Client& client) {
  if (number_ != 1) co_return;
  for (const auto& changed : files_) {
    const std::string& path = changed->model.path();
    auto found = co_await client.Lookup(stage_.changed, changed->name);
    if (!found.ok() && found.code() != Code::kNotFound) {
      Fail(path + ": " + found.status().ToString());
    }
    if (!found.ok()) {
      const bool due = changed->durable_name || changed->model.HoldsAnything();
      if (due && !changed->doubtful) Fail(path + " is gone");
      continue;
    }
    if (changed->doubtful) continue;
    auto opened = co_await client.Open(found->inode, fs::Client::OpenMode::kRead);
    if (!opened.ok()) co_return Fail(path + ": " + opened.status().ToString());
    auto bytes = co_await ReadWhole(**opened);
    if (!bytes.ok()) co_return Fail(path + " cannot be read: " + bytes.status().ToString());
    const std::string difference = changed->model.Difference(*bytes);
    if (!difference.empty()) Fail(difference);
    (co_await client.Close(*opened)).Ignore();
  }
}

}  // namespace moraine::simulation
