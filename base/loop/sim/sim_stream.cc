#include "base/loop/sim/sim_stream.h"

#include <algorithm>
#include <vector>

#include "base/loop/sim/world.h"

namespace moraine::sim {
namespace {

// Sets a flag while a coroutine lives.
class Flag {
 public:
  template <class Owner>
  Flag(std::shared_ptr<Owner> owner, bool Owner::* flag, const char* claim)
      : owner_(owner), flag_(&(owner.get()->*flag)) {
    MORAINE_CHECK(!*flag_, claim);
    *flag_ = true;
  }
  ~Flag() { *flag_ = false; }
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;

 private:
  std::shared_ptr<void> owner_;
  bool* flag_;
};

// Takes bytes off the front of a list of pieces.
class Gather {
 public:
  explicit Gather(std::span<const ConstBytes> pieces) : pieces_(pieces.begin(), pieces.end()) {
    for (const ConstBytes piece : pieces_) left_ += piece.size();
  }
  size_t left() const { return left_; }
  std::vector<std::byte> Take(size_t bytes_max) {
    std::vector<std::byte> taken;
    const size_t bytes = std::min(bytes_max, left_);
    taken.reserve(bytes);
    while (taken.size() < bytes) {
      ConstBytes& piece = pieces_[next_];
      const size_t part = std::min(bytes - taken.size(), piece.size());
      taken.insert(taken.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(part));
      piece = piece.subspan(part);
      if (piece.empty()) ++next_;
    }
    left_ -= bytes;
    return taken;
  }

 private:
  std::vector<ConstBytes> pieces_;
  size_t next_ = 0;
  size_t left_ = 0;
};

}  // namespace

SimStream::SimStream(SimLoop& loop, std::shared_ptr<Connection> connection, int side)
    : loop_(loop),
      connection_(std::move(connection)),
      side_(side),
      readable_(loop),
      writable_(loop),
      under_way_(std::make_shared<UnderWay>()) {
  connection_->Attach(side_, *this);
}

SimStream::~SimStream() {
  MORAINE_CHECK((!under_way_->read && !under_way_->write) || loop_.dying(),
                "a stream is destroyed with an operation under way");
  Close();
}

void SimStream::Wake() {
  readable_.NotifyAll();
  writable_.NotifyAll();
}

void SimStream::Close() {
  if (std::exchange(closed_, true)) return;
  if (!loop_.dying()) connection_->Close(side_);
  Wake();
}

Task<Result<size_t>> SimStream::Read(MutableBytes buffer) {
  MORAINE_CHECK(!buffer.empty(), "a read of nothing cannot tell bytes from the end");
  const Flag flag(under_way_, &UnderWay::read, "one Read at a time");
  Network& network = connection_->machine(side_).world().net();
  while (true) {
    if (closed_) co_return Status(Code::kCanceled, "closed");
    if (const size_t unread = connection_->unread(side_); unread > 0) {
      size_t length = std::min(buffer.size(), unread);
      const double split = network.world().options().net.split_read_chance;
      if (network.random().Chance(split)) length = 1 + network.random().Uniform(length);
      co_return connection_->Read(side_, buffer.first(length));
    }
    if (connection_->broken(side_)) co_return Status(Code::kUnavailable, peer() + ": reset");
    if (connection_->ended(side_)) co_return size_t{0};
    co_await readable_.Wait();
  }
}

Task<Status> SimStream::Write(std::span<const ConstBytes> pieces) {
  const Flag flag(under_way_, &UnderWay::write, "one Write at a time");
  if (pieces.size() > kPiecesMax) co_return Status(Code::kInvalidArgument, "too many pieces");
  const size_t segment_max = connection_->machine(side_).world().options().net.segment_bytes;
  Gather gather(pieces);
  while (true) {
    if (closed_) co_return Status(Code::kCanceled, "closed");
    if (connection_->broken(side_)) co_return Status(Code::kUnavailable, peer() + ": reset");
    if (gather.left() == 0) co_return Status();
    const size_t room = connection_->room(side_);
    if (room == 0) {
      co_await writable_.Wait();
      continue;
    }
    connection_->Send(side_, gather.Take(std::min(room, segment_max)));
  }
}

SimListener::SimListener(SimLoop& loop, Network& network, Endpoint at)
    : loop_(loop), network_(network), at_(std::move(at)), arrived_(loop) {}

SimListener::~SimListener() { Close(); }

void SimListener::Close() {
  if (std::exchange(closed_, true)) return;
  network_.Forget(*this);
  for (const auto& connection : backlog_) connection->Refuse(1);
  backlog_.clear();
  arrived_.NotifyAll();
}

void SimListener::Offer(std::shared_ptr<Connection> connection) {
  backlog_.push_back(std::move(connection));
  arrived_.NotifyOne();
}

Task<Result<std::unique_ptr<Stream>>> SimListener::Accept() {
  while (true) {
    if (closed_) co_return Status(Code::kCanceled, "closed");
    if (!backlog_.empty()) {
      std::shared_ptr<Connection> connection = std::move(backlog_.front());
      backlog_.pop_front();
      co_return std::unique_ptr<Stream>(
          std::make_unique<SimStream>(loop_, std::move(connection), 1));
    }
    co_await arrived_.Wait();
  }
}

}  // namespace moraine::sim
