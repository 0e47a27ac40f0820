#include "kv/rocksfs/info_log.h"

#include "base/log.h"
#include "kv/rocksfs/volume.h"

namespace moraine::rocksfs {

InfoLog::InfoLog(std::string path, std::string policy, uint64_t kept_bytes_max)
    : path_(std::move(path)), policy_(std::move(policy)), kept_bytes_max_(kept_bytes_max) {}

std::shared_ptr<GatheringWriter> InfoLog::writer() const {
  MutexLock lock(mutex_);
  return writer_;
}

void InfoLog::Write(GatheringWriter& writer, ConstBytes bytes) const {
  const Status written = writer.TryAppend(bytes);
  if (written.ok()) return;
  MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "{}: text is lost: {}", path_, written.ToString());
}

// Others may append meanwhile: what they leave in `kept_` is taken until nothing is left.
Status InfoLog::Begin(Volume& volume) {
  MORAINE_ASSIGN_OR_RETURN(const std::shared_ptr<GatheringWriter> made,
                           volume.CreateForAppend(path_, policy_));
  while (true) {
    std::string text;
    bool closed = false;
    {
      MutexLock lock(mutex_);
      text = std::exchange(kept_, {});
      closed = closed_;
      if (text.empty() && !closed) {
        writer_ = made;
        return Status::Ok();
      }
    }
    if (!text.empty()) Write(*made, std::as_bytes(std::span(text)));
    if (closed) return volume.Close(made);
  }
}

void InfoLog::Append(ConstBytes bytes) {
  std::shared_ptr<GatheringWriter> begun;
  {
    MutexLock lock(mutex_);
    begun = writer_;
    if (begun == nullptr && kept_.size() + bytes.size() <= kept_bytes_max_) {
      kept_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  }
  if (begun != nullptr) Write(*begun, bytes);
}

Status InfoLog::Sync() {
  const std::shared_ptr<GatheringWriter> begun = writer();
  if (begun != nullptr) return begun->Sync();
  return Status(Code::kFenced, "another process owns the directory");
}

void InfoLog::Close(Volume& volume) {
  std::shared_ptr<GatheringWriter> begun;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    begun = writer_;
  }
  if (begun == nullptr) return;
  const Status closed = volume.Close(begun);
  if (!closed.ok()) LogWarning("{}: text may be lost: {}", path_, closed.ToString());
}

uint64_t InfoLog::size() const {
  MutexLock lock(mutex_);
  return writer_ == nullptr ? kept_.size() : writer_->size();
}

}  // namespace moraine::rocksfs
