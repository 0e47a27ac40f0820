// A loop without a kernel, where time passes only while everything waits: one server on it, and
// peers that have said everything before they connect. For fuzz targets, which the simulated world
// is too slow for; it has neither delays nor resets nor a disk.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"

namespace moraine {

class ScriptedLoop final : public Loop {
 public:
  ScriptedLoop() : arrived_(*this) {}
  ~ScriptedLoop() override { DestroySpawned(); }

  Instant Now() const override { return now_; }
  int64_t WallNanoseconds() const override { return now_.time_since_epoch().count(); }
  Random& random() override { return random_; }
  void Post(std::function<void()> work) override { posted_.push_back(std::move(work)); }
  Task<void> RunBlocking(std::function<void()> work) override {
    work();
    co_return;
  }
  Task<Result<std::unique_ptr<Stream>>> Connect(Endpoint to, Instant) override {
    co_return Status(Code::kUnavailable, "nobody is at " + to.ToString());
  }
  Result<std::unique_ptr<Listener>> Listen(Endpoint at) override {
    return std::unique_ptr<Listener>(std::make_unique<Door>(*this, std::move(at)));
  }
  Disk& disk() override { MORAINE_CHECK(false, "a scripted loop has no disk"); }

  // A peer connects, says `bytes` in pieces of `piece`, and leaves. Runs until the server has ended
  // the connection, and returns the beginning of what it has said.
  std::string Converse(std::string_view bytes, size_t piece) {
    const auto peer = std::make_shared<Peer>(Peer{bytes, piece, {}, false});
    waiting_.push_back(std::make_unique<ScriptedStream>(*this, peer));
    arrived_.NotifyAll();
    RunUntil([&] { return peer->ended; });
    return std::move(peer->heard);
  }
  // Something that happens for ever, or never, is a failure.
  void RunUntil(const std::function<bool()>& done) {
    for (int turns = 0; !done(); ++turns) {
      MORAINE_CHECK(turns < kTurnsMax, "no end");
      while (!posted_.empty()) {
        const std::function<void()> work = std::move(posted_.front());
        posted_.pop_front();
        work();
      }
      if (RunReady() || done()) continue;
      const auto due = timers().Earliest();
      MORAINE_CHECK(due.has_value() || !posted_.empty(), "everything waits for nothing");
      if (due.has_value()) now_ = std::max(now_, *due);
      RunTimers();
    }
  }

 private:
  static constexpr int kTurnsMax = 100'000;
  static constexpr size_t kHeardBytesMax = 64 << 10;

  struct Peer {
    std::string_view says;
    const size_t piece;
    std::string heard;  // at most kHeardBytesMax
    bool ended;
  };

  class ScriptedStream final : public Stream {
   public:
    ScriptedStream(ScriptedLoop& loop, std::shared_ptr<Peer> peer)
        : loop_(loop), peer_(std::move(peer)) {}
    ~ScriptedStream() override { peer_->ended = true; }
    Task<Result<size_t>> Read(MutableBytes buffer) override {
      MORAINE_CHECK(!buffer.empty());
      co_await loop_.Yield();
      if (peer_->ended) co_return Status(Code::kCanceled, "closed here");
      const size_t size = std::min({peer_->says.size(), peer_->piece, buffer.size()});
      if (size > 0) std::memcpy(buffer.data(), peer_->says.data(), size);
      peer_->says.remove_prefix(size);
      co_return size;
    }
    Task<Status> Write(std::span<const ConstBytes> pieces) override {
      co_await loop_.Yield();
      if (peer_->ended) co_return Status(Code::kCanceled, "closed here");
      for (const ConstBytes& piece : pieces) {
        const size_t room = kHeardBytesMax - peer_->heard.size();
        peer_->heard.append(reinterpret_cast<const char*>(piece.data()),
                            std::min(room, piece.size()));
      }
      co_return Status();
    }
    void Close() override { peer_->ended = true; }
    std::string peer() const override { return "peer"; }

   private:
    ScriptedLoop& loop_;
    const std::shared_ptr<Peer> peer_;
  };

  class Door final : public Listener {
   public:
    Door(ScriptedLoop& loop, Endpoint at) : loop_(loop), at_(std::move(at)) {}
    Task<Result<std::unique_ptr<Stream>>> Accept() override {
      while (loop_.waiting_.empty() && !closed_) co_await loop_.arrived_.Wait();
      if (closed_) co_return Status(Code::kCanceled, "closed here");
      std::unique_ptr<Stream> stream = std::move(loop_.waiting_.front());
      loop_.waiting_.pop_front();
      co_return stream;
    }
    void Close() override {
      closed_ = true;
      loop_.arrived_.NotifyAll();
    }
    Endpoint local() const override { return at_; }

   private:
    ScriptedLoop& loop_;
    const Endpoint at_;
    bool closed_ = false;
  };

  Instant now_{};
  Random random_{1};
  std::deque<std::function<void()>> posted_;
  std::deque<std::unique_ptr<Stream>> waiting_;
  Condition arrived_;
};

}  // namespace moraine
