#include "base/loop/sim/sim_file.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/limits.h"
#include "base/loop/sim/pending.h"
#include "base/loop/sim/sim_loop.h"

namespace moraine::sim {
namespace {

constexpr uint64_t kDirectAlignment = limits::kBlockBytes;

// Counts an operation while its coroutine lives.
class UnderWay {
 public:
  explicit UnderWay(std::shared_ptr<int> count) : count_(std::move(count)) { ++*count_; }
  ~UnderWay() { --*count_; }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

 private:
  std::shared_ptr<int> count_;
};

// One WriteAt. Holds the bytes as they were at its beginning.
struct Writing {
  NodePtr node;
  std::string path;
  uint64_t offset;
  bool durable;
  std::vector<std::byte> bytes;
  std::vector<ConstBytes> pieces;
  PendingPtr<Status> pending;

  // Writes the first `length` bytes if they fit.
  Status Store(DiskImage& image, uint64_t length, bool synced) const {
    if (length == 0) return {};
    const uint64_t end = offset + length;
    MORAINE_RETURN_IF_ERROR(image.Charge(*node, path, std::max(node->file.size(), end)));
    image.Store(*node, offset, ConstBytes(bytes).first(length), synced);
    return {};
  }
  // Some first sectors, none, or all.
  uint64_t SomePrefix(Random& random) const {
    const uint64_t sectors = bytes.size() / kSectorBytes + 1;
    const uint64_t end = (offset / kSectorBytes + random.Uniform(sectors + 1)) * kSectorBytes;
    return end <= offset ? 0 : std::min<uint64_t>(end - offset, bytes.size());
  }
  void CheckUnchanged() const {
    size_t done = 0;
    for (const ConstBytes piece : pieces) {
      MORAINE_CHECK(
          piece.empty() || std::memcmp(piece.data(), bytes.data() + done, piece.size()) == 0,
          "a buffer changed while it was being written");
      done += piece.size();
    }
  }
  Status Finish(DiskImage& image) const {
    Random& random = image.random();
    Status fault = image.Fault(DiskOp::kWrite, path);
    if (!fault.ok()) {
      Store(image, SomePrefix(random), false).Ignore();
      return fault;
    }
    Status stored = Store(image, bytes.size(), durable && !image.options().ignores_syncs);
    if (stored.ok()) return stored;
    const uint64_t room = image.RoomFor(*node, path);
    if (room > offset && random.OneIn(2)) Store(image, room - offset, false).Ignore();
    if (image.options().ignores_no_space && stored.code() == Code::kNoSpace) return {};
    return stored;
  }
};

Status Overflow(uint64_t offset, uint64_t length) {
  if (offset > limits::kFileBytesMax || length > limits::kFileBytesMax - offset) {
    return {Code::kTooLarge, "past the largest file"};
  }
  return {};
}

}  // namespace

SimFile::SimFile(SimLoop& loop, DiskImage& image, NodePtr node, std::string path,
                 OpenOptions options)
    : loop_(loop),
      image_(image),
      node_(std::move(node)),
      path_(std::move(path)),
      options_(options),
      under_way_(std::make_shared<int>(0)) {
  image_.Opened(*node_);
}

SimFile::~SimFile() {
  MORAINE_CHECK(*under_way_ == 0 || loop_.dying(), "a file is closed with an operation under way");
  image_.Closed(*node_, path_);
}

Status SimFile::CheckDirect(uint64_t offset, ConstBytes piece) const {
  const auto address = reinterpret_cast<uintptr_t>(piece.data());
  if (offset % kDirectAlignment == 0 && piece.size() % kDirectAlignment == 0 &&
      address % kDirectAlignment == 0) {
    return {};
  }
  return {Code::kInvalidArgument, "'" + path_ + "': unaligned direct access"};
}

Task<Result<size_t>> SimFile::ReadAt(uint64_t offset, MutableBytes buffer) {
  UnderWay count(under_way_);
  if (options_.direct) MORAINE_CO_RETURN_IF_ERROR(CheckDirect(offset, buffer));
  MORAINE_CO_RETURN_IF_ERROR(Overflow(offset, buffer.size()));
  auto pending = std::make_shared<Pending<Result<size_t>>>(loop_);
  auto finish = [image = &image_, node = node_, path = path_, pending, offset, buffer] {
    if (!pending->Wanted()) return;
    const Status fault = image->Fault(DiskOp::kRead, path);
    if (!fault.ok()) return pending->Complete(fault);
    constexpr uint64_t kEvictOneIn = 16;
    if (image->random().OneIn(kEvictOneIn)) node->file.EvictLost();
    pending->Complete(node->file.Read(offset, buffer));
  };
  image_.Begin({DiskOp::kRead, buffer.size(), false, std::move(finish), nullptr});
  co_return co_await Await<Result<size_t>>(pending);
}

Task<Status> SimFile::WriteAt(uint64_t offset, std::span<const ConstBytes> pieces) {
  UnderWay count(under_way_);
  if (!options_.write) co_return Status(Code::kBadHandle, "'" + path_ + "' is open for reading");
  auto writing = std::make_shared<Writing>();
  uint64_t end = offset;
  for (const ConstBytes piece : pieces) {
    if (options_.direct) MORAINE_CO_RETURN_IF_ERROR(CheckDirect(end, piece));
    MORAINE_CO_RETURN_IF_ERROR(Overflow(end, piece.size()));
    writing->bytes.insert(writing->bytes.end(), piece.begin(), piece.end());
    writing->pieces.push_back(piece);
    end += piece.size();
  }
  writing->node = node_;
  writing->path = path_;
  writing->offset = offset;
  writing->durable = options_.durable_writes;
  writing->pending = std::make_shared<Pending<Status>>(loop_);
  auto finish = [image = &image_, writing] {
    if (writing->pending->Wanted()) writing->CheckUnchanged();
    writing->pending->Complete(writing->Finish(*image));
  };
  auto interrupt = [image = &image_, writing](Random& random) {
    writing->Store(*image, writing->SomePrefix(random), false).Ignore();
  };
  const bool to_medium = options_.durable_writes || options_.direct;
  image_.Begin(
      {DiskOp::kWrite, writing->bytes.size(), to_medium, std::move(finish), std::move(interrupt)});
  co_return co_await Await<Status>(writing->pending);
}

Task<Status> SimFile::Sync() {
  UnderWay count(under_way_);
  auto pending = std::make_shared<Pending<Status>>(loop_);
  auto point = std::make_shared<FileImage::SyncPoint>(node_->file.BeginSync());
  auto finish = [image = &image_, node = node_, path = path_, pending, point] {
    const Status fault = image->Fault(DiskOp::kSync, path);
    if (fault.ok()) {
      if (!image->options().ignores_syncs) node->file.FinishSync(*point);
    } else {
      node->file.FailSync(*point, image->random());
    }
    pending->Complete(fault);
  };
  image_.Begin({DiskOp::kSync, point->parts.size() * FileImage::kPageBytes, true, std::move(finish),
                nullptr});
  co_return co_await Await<Status>(pending);
}

// Ends with a size of at least and at most that.
Task<Status> SimFile::Resize(DiskOp op, uint64_t at_least, uint64_t at_most) {
  UnderWay count(under_way_);
  if (!options_.write) co_return Status(Code::kBadHandle, "'" + path_ + "' is open for reading");
  auto pending = std::make_shared<Pending<Status>>(loop_);
  auto apply = [image = &image_, node = node_, path = path_, at_least, at_most]() -> Status {
    const uint64_t size = std::clamp(node->file.size(), at_least, at_most);
    MORAINE_RETURN_IF_ERROR(image->Charge(*node, path, size));
    node->file.Resize(size);
    return {};
  };
  auto finish = [image = &image_, path = path_, op, pending, apply] {
    Status status = image->Fault(op, path);
    if (status.ok()) status = apply();
    pending->Complete(std::move(status));
  };
  auto interrupt = [apply](Random& random) {
    if (random.OneIn(2)) apply().Ignore();
  };
  image_.Begin({op, 0, false, std::move(finish), std::move(interrupt)});
  co_return co_await Await<Status>(pending);
}

Task<Status> SimFile::Allocate(uint64_t offset, uint64_t length) {
  const Status overflow = Overflow(offset, length);
  if (!overflow.ok()) co_return overflow;
  co_return co_await Resize(DiskOp::kAllocate, offset + length, limits::kFileBytesMax);
}

Task<Status> SimFile::Truncate(uint64_t size) {
  const Status overflow = Overflow(size, 0);
  if (!overflow.ok()) co_return overflow;
  co_return co_await Resize(DiskOp::kTruncate, size, size);
}

Task<Result<uint64_t>> SimFile::Size() { co_return node_->file.size(); }

}  // namespace moraine::sim
