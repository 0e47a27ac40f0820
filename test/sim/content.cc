#include "test/sim/content.h"

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "test/sim/stage.h"

namespace moraine::simulation {
namespace {

void Fill(uint64_t key, uint64_t offset, std::span<char> out) {
  const uint64_t base = MixBits(key);
  size_t i = 0;
  while (i < out.size()) {
    const uint64_t at = offset + i;
    const uint64_t word = (base + at / 8) * 0x9E3779B97F4A7C15;  // odd: words differ
    const size_t within = at % 8;
    const size_t count = std::min<size_t>(8 - within, out.size() - i);
    std::memcpy(out.data() + i, reinterpret_cast<const char*>(&word) + within, count);
    i += count;
  }
}

}  // namespace

std::string BytesOfKey(uint64_t key, uint64_t offset, uint64_t size) {
  std::string bytes(size, '\0');
  if (key != 0) Fill(key, offset, bytes);
  return bytes;
}

std::string ContentOf(const FileModel& model, uint64_t offset, uint64_t size) {
  std::string bytes(size, '\0');
  for (auto it = model.keys.begin(); it != model.keys.end(); ++it) {
    const auto next = std::next(it);
    const uint64_t begin = std::max(offset, it->first);
    const uint64_t end =
        next == model.keys.end() ? offset + size : std::min(offset + size, next->first);
    if (begin >= end) continue;
    Fill(it->second, begin, std::span(bytes).subspan(begin - offset, end - begin));
  }
  return bytes;
}

std::string TextOf(const fs::ReadBytes& read) {
  std::string bytes(read.size, '\0');
  read.CopyTo(reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

Task<Result<std::string>> ReadWhole(fs::File& file) {
  const uint64_t size = file.size();
  auto read = co_await file.Read(0, size);
  if (!read.ok()) co_return read.status();
  co_return TextOf(*read);
}

std::string Difference(const FileModel& model, uint64_t offset, const fs::ReadBytes& read) {
  const std::string right = ContentOf(model, offset, read.size);
  const std::string bytes = TextOf(read);
  if (bytes == right) return {};
  const auto at = std::ranges::mismatch(bytes, right).in1 - bytes.begin();
  return fmt::format("{} has a wrong byte at {} of [{}, +{})", model.path,
                     offset + static_cast<uint64_t>(at), offset, read.size);
}

bool IsUnknown(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kOverloaded:
    case Code::kSessionEnded:
    case Code::kCanceled:
      return true;
    default:
      return false;
  }
}

Task<Status> CheckFile(Stage& stage, fs::Client& client, const FileModel& model, uint64_t least) {
  const uint64_t most = model.submitted;
  auto found = co_await client.Lookup(model.parent, model.name);
  if (!found.ok()) {
    if (found.code() == Code::kNotFound) {
      if ((model.durable_name || least > 0) && !model.doubtful) {
        stage.Fail(fmt::format("{} is gone; {} bytes of it are due", model.path, least));
      }
      co_return Status::Ok();
    }
    co_return found.status();
  }
  if (found->inode != model.inode) {
    if (!model.doubtful) stage.Fail(model.path + " is another file now");
    co_return Status::Ok();
  }
  auto opened = co_await client.Open(found->inode, fs::Client::OpenMode::kRead);
  if (!opened.ok()) co_return opened.status();
  const std::shared_ptr<fs::File> file = *opened;
  const uint64_t size = file->size();
  least = std::min(least, stage.LeastSize(model));  // the power may have been cut meanwhile
  if (size < least) {
    stage.Fail(fmt::format("{} has {} bytes, due are {} (synced {}, acknowledged {}, submitted {})",
                           model.path, size, least, model.synced, model.acknowledged,
                           model.submitted));
  }
  if (size > std::max(most, model.submitted)) {
    stage.Fail(fmt::format("{} has {} bytes, more than the {} that were written", model.path, size,
                           model.submitted));
  }
  Status status;
  for (uint64_t at = 0; at < size && status.ok() && !stage.verdict.failed();) {
    const uint64_t length = std::min<uint64_t>(size - at, 1 << 20);
    auto read = co_await file->Read(at, length);
    status = read.status();
    if (!read.ok()) break;
    const uint64_t end = at + read->size;
    // What was never synced may be found lost, and cut off, while the file is open.
    const bool cut = file->size() <= end && end >= std::min(least, stage.LeastSize(model));
    if (read->size != length && !cut) {
      stage.Fail(
          fmt::format("{}: a read of {} bytes at {} gave {}", model.path, length, at, read->size));
    }
    const std::string difference = Difference(model, at, *read);
    if (!difference.empty()) stage.Fail(difference);
    if (read->size != length) break;
    at += length;
  }
  (co_await client.Close(file)).Ignore();
  co_return status;
}

}  // namespace moraine::simulation
