#include "test/sim/table_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {

Task<void> TableWorkload::Run(fs::Client& client) {
  while (!stage_.stopping) {
    auto model = std::make_unique<FileModel>();
    model->name = fmt::format("{:06}.sst", next_file_++);
    model->path = "/tables/" + model->name;
    model->parent = stage_.tables;
    model->keys[0] = stage_.next_key++;
    FileModel* const file = model.get();
    stage_.files.push_back(std::move(model));
    co_await WriteOne(client, *file);
    if (random_.OneIn(6)) co_await RemoveOne(client);
    co_await Pause(client, 60ms);
  }
}

Task<void> TableWorkload::WriteOne(fs::Client& client, FileModel& model) {
  fs::NewEntry entry;
  entry.expect_stream = random_.OneIn(2);
  model.doubtful = true;  // until it is answered
  auto created = co_await client.Create(model.parent, model.name, entry, true);
  if (!created.ok()) {
    Note(model.path + " is not made: " + created.status().ToString());
    co_return;
  }
  model.doubtful = false;
  model.inode = created->attributes.inode;
  const uint64_t cuts = stage_.meta_cuts;
  const Status written = co_await WriteAll(model, *created->file);
  const Status closed = co_await client.Close(created->file);
  if (!written.ok() || !closed.ok()) {
    Note(model.path + " fails: " + (written.ok() ? closed : written).ToString());
    co_return;
  }
  model.acknowledged = model.submitted;
  model.acknowledged_cuts = cuts;
  model.finished = true;
  finished_.push_back(&model);
  const uint64_t least = stage_.LeastSize(model);
  const Status read = co_await CheckFile(stage_, client, model, least);
  if (read.code() == Code::kCorruption) Fail(model.path + ": " + read.ToString());
  if (read.ok() && least == model.submitted) ++rounds_;
}

Task<Status> TableWorkload::WriteAll(FileModel& model, fs::File& file) {
  for (uint64_t i = random_.Between(1, 4); i > 0; --i) {
    const uint64_t size = random_.OneIn(4) ? random_.Between(1, 5'000) : random_.Uniform(120'000);
    const std::string bytes = ContentOf(model, model.submitted, size);
    model.submitted += size;
    ++operations_;
    auto appended = co_await file.Append(std::as_bytes(std::span(bytes)));
    if (!appended.ok()) co_return appended.status();
    if (*appended != model.submitted - size) {
      Fail(fmt::format("{}: appended at {}", model.path, *appended));
    }
  }
  if (random_.OneIn(5)) co_return Status::Ok();
  MORAINE_CO_RETURN_IF_ERROR(co_await file.Sync());
  model.synced = model.submitted;
  model.durable_name = true;
  co_return Status::Ok();
}

Task<void> TableWorkload::RemoveOne(fs::Client& client) {
  if (finished_.empty()) co_return;
  const size_t at = random_.Uniform(finished_.size());
  FileModel& model = *finished_[at];
  finished_.erase(finished_.begin() + static_cast<std::ptrdiff_t>(at));
  model.doubtful = true;
  const Status removed = co_await client.RemoveFile(model.parent, model.name);
  if (removed.code() == Code::kNotFound && model.durable_name) Fail(model.path + " was gone");
}

Task<void> TableWorkload::Verify(fs::Client& client) {
  for (const auto& model : stage_.files) {
    if (model->parent != stage_.tables) continue;
    const Status status = co_await CheckFile(stage_, client, *model, stage_.LeastSize(*model));
    if (!status.ok()) Fail(model->path + " cannot be read: " + status.ToString());
  }
}

}  // namespace moraine::simulation
