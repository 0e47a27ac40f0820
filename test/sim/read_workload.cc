#include "test/sim/read_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {

Task<void> ReadWorkload::Run(fs::Client& client) {
  while (!stage_.stopping) {
    if (!stage_.files.empty()) {
      // Mostly what is young.
      const size_t count = stage_.files.size();
      const size_t back = random_.Uniform(random_.OneIn(4) ? count : std::min<size_t>(count, 4));
      const FileModel& model = *stage_.files[count - 1 - back];
      const Status status = co_await ReadSome(client, model);
      if (status.ok()) ++rounds_;
    }
    co_await Pause(client, 30ms);
  }
}

Task<Status> ReadWorkload::ReadSome(fs::Client& client, const FileModel& model) {
  ++operations_;
  const uint64_t least = stage_.LeastSize(model);
  const bool due = model.durable_name && !model.doubtful;
  auto found = co_await client.Lookup(model.parent, model.name);
  if (!found.ok()) {
    if (found.code() != Code::kNotFound) co_return found.status();
    // It may have been removed while this reader was cut off.
    if (due && !model.doubtful) Fail(model.path + " is gone");
    co_return Status::Ok();
  }
  if (found->inode != model.inode) {
    if (due && !model.doubtful) Fail(model.path + " is another file now");
    co_return Status::Ok();
  }
  const uint64_t most = model.submitted;
  auto opened = co_await client.Open(found->inode, fs::Client::OpenMode::kRead);
  if (!opened.ok()) co_return opened.status();
  const std::shared_ptr<fs::File> file = *opened;
  const uint64_t size = file->size();
  if (size < std::min(least, stage_.LeastSize(model)) || size > std::max(most, model.submitted)) {
    Fail(fmt::format("{} is seen with {} bytes; synced {}, due {}, submitted {}", model.path, size,
                     model.synced, least, model.submitted));
  }
  Status status;
  for (int i = 0; i < 3 && size > 0 && status.ok(); ++i) {
    const uint64_t offset = random_.Uniform(size);
    const uint64_t length = std::min(size - offset, random_.Between(1, 60'000));
    const FileModel before = model;
    auto read = co_await file->Read(offset, length);
    status = read.status();
    if (!read.ok()) break;
    const uint64_t end = std::min({offset + length, least, stage_.LeastSize(model)});
    if (read->size > length || offset + read->size < end) {
      Fail(fmt::format("{}: read {} of {} bytes at {}", model.path, read->size, length, offset));
    }
    // A writer that came back meanwhile has cut bytes that were never promised.
    const std::string difference = Difference(before, offset, *read);
    if (!difference.empty() && !Difference(model, offset, *read).empty()) Fail(difference);
  }
  (co_await client.Close(file)).Ignore();
  if (status.code() == Code::kCorruption) Fail(model.path + ": " + status.ToString());
  co_return status;
}

Task<void> ReadWorkload::Verify(fs::Client&) { co_return; }

}  // namespace moraine::simulation
