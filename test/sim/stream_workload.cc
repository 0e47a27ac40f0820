#include "test/sim/stream_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {
namespace {

uint64_t SomeSize(Random& random) {
  switch (random.Uniform(16)) {
    case 0:
      return random.Between(1, 200'000);  // not through the journal
    case 1:
    case 2:
      return random.Between(4'000, 40'000);
    default:
      return random.Between(1, 2'500);
  }
}

ConstBytes BytesOf(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

Task<void> StreamWorkload::Run(fs::Client& client) {
  while (!stage_.stopping) {
    const std::shared_ptr<fs::File> file = co_await Begin(client);
    if (file != nullptr) {
      const uint64_t cuts = stage_.meta_cuts;
      Status status = co_await Write(client, *file);
      const Status closed = co_await client.Close(file);
      if (status.ok() && closed.ok()) {
        current_->acknowledged = current_->submitted;
        current_->acknowledged_cuts = cuts;
        ++rounds_;
        if (random_.OneIn(2)) current_ = nullptr;
      } else {
        Note(current_->path + " fails: " + (status.ok() ? closed : status).ToString());
        if (random_.OneIn(3)) current_ = nullptr;
      }
    }
    co_await Pause(client, 30ms);
  }
}

Task<std::shared_ptr<fs::File>> StreamWorkload::Begin(fs::Client& client) {
  if (current_ != nullptr) co_return co_await GoOn(client);
  co_return co_await BeginNew(client);
}

Task<std::shared_ptr<fs::File>> StreamWorkload::BeginNew(fs::Client& client) {
  auto model = std::make_unique<FileModel>();
  model->name = fmt::format("{}-{:04}.log", number_, next_file_++);
  model->path = "/streams/" + model->name;
  model->parent = stage_.streams;
  model->keys[0] = stage_.next_key++;
  fs::NewEntry entry;
  entry.expect_stream = random_.OneIn(2);
  FileModel* const file = model.get();
  file->doubtful = true;  // until it is answered
  stage_.files.push_back(std::move(model));
  const uint64_t cuts = stage_.meta_cuts;
  auto created = co_await client.Create(file->parent, file->name, entry, true);
  if (!created.ok()) {
    Note(file->path + " is not made: " + created.status().ToString());
    co_return nullptr;
  }
  file->doubtful = false;
  file->inode = created->attributes.inode;
  file->acknowledged_cuts = cuts;
  current_ = file;
  co_return created->file;
}

Task<std::shared_ptr<fs::File>> StreamWorkload::GoOn(fs::Client& client) {
  FileModel& model = *current_;
  const uint64_t least = stage_.LeastSize(model);
  auto opened = co_await client.Open(model.inode, fs::Client::OpenMode::kWrite);
  if (!opened.ok()) {
    if (opened.code() == Code::kNotFound && model.synced > 0) Fail(model.path + " is gone");
    if (!IsUnknown(opened.status()) || random_.OneIn(4)) current_ = nullptr;
    co_return nullptr;
  }
  const uint64_t size = (*opened)->size();
  if (size < std::min(least, stage_.LeastSize(model)) || size > model.submitted) {
    Fail(fmt::format("{} is opened with {} bytes; synced {}, due {}, submitted {}", model.path,
                     size, model.synced, least, model.submitted));
  }
  // What comes now is told from what an earlier life sent at the same offsets.
  model.keys.erase(model.keys.lower_bound(size), model.keys.end());
  model.keys[size] = stage_.next_key++;
  model.submitted = size;
  model.acknowledged = std::min(model.acknowledged, size);
  co_return *opened;
}

Task<Status> StreamWorkload::Write(fs::Client& client, fs::File& file) {
  for (uint64_t i = random_.Between(1, 12); i > 0 && !stage_.stopping; --i) {
    MORAINE_CO_RETURN_IF_ERROR(co_await AppendOne(file));
    FileModel& model = *current_;
    const uint64_t end = model.submitted;
    const uint64_t cuts = stage_.meta_cuts;
    switch (random_.Uniform(6)) {
      case 0:
        file.Push();
        break;
      case 1:
        MORAINE_CO_RETURN_IF_ERROR(co_await file.Flush());
        model.acknowledged = end;
        model.acknowledged_cuts = cuts;
        break;
      case 2:
      case 3:
        MORAINE_CO_RETURN_IF_ERROR(co_await file.Sync());
        model.acknowledged = model.synced = end;
        model.acknowledged_cuts = cuts;
        model.durable_name = true;
        break;
      case 4:
        MORAINE_CO_RETURN_IF_ERROR(co_await ReadOwn(file));
        break;
      default:
        break;
    }
    if (random_.OneIn(3)) co_await Pause(client, 20ms);
  }
  co_return Status::Ok();
}

Task<Status> StreamWorkload::AppendOne(fs::File& file) {
  FileModel& model = *current_;
  const uint64_t offset = model.submitted;
  const std::string bytes = ContentOf(model, offset, SomeSize(random_));
  model.submitted += bytes.size();
  ++operations_;
  auto appended = co_await file.Append(BytesOf(bytes));
  if (!appended.ok()) co_return appended.status();
  if (*appended != offset) {
    Fail(fmt::format("{}: appended at {} instead of {}", model.path, *appended, offset));
  }
  co_return Status::Ok();
}

Task<Status> StreamWorkload::ReadOwn(fs::File& file) {
  const FileModel& model = *current_;
  const uint64_t offset = random_.Uniform(model.submitted);
  const uint64_t length = std::min(model.submitted - offset, random_.Between(1, 20'000));
  auto read = co_await file.Read(offset, length);
  if (!read.ok()) co_return read.status();
  if (read->size != length) {
    Fail(fmt::format("{}: its writer reads {} of {} bytes at {}", model.path, read->size, length,
                     offset));
  }
  const std::string difference = Difference(model, offset, *read);
  if (!difference.empty()) Fail(difference);
  co_return Status::Ok();
}

Task<void> StreamWorkload::Verify(fs::Client& client) {
  for (const auto& model : stage_.files) {
    if (model->parent != stage_.streams || !model->name.starts_with(fmt::format("{}-", number_))) {
      continue;
    }
    const Status status = co_await CheckFile(stage_, client, *model, stage_.LeastSize(*model));
    if (!status.ok()) Fail(model->path + " cannot be read: " + status.ToString());
  }
}

}  // namespace moraine::simulation
