// The two ends of simulated connections as processes hold them; see network.h.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/loop/net.h"
#include "base/loop/sim/connection.h"
#include "base/loop/sync.h"

namespace moraine::sim {

class Network;
class SimLoop;

class SimStream final : public Stream {
 public:
  SimStream(SimLoop& loop, std::shared_ptr<Connection> connection, int side);
  ~SimStream() override;

  Task<Result<size_t>> Read(MutableBytes buffer) override;
  Task<Status> Write(std::span<const ConstBytes> pieces) override;
  void Close() override;
  std::string peer() const override { return connection_->name(1 - side_); }

  void Wake();

 private:
  SimLoop& loop_;
  const std::shared_ptr<Connection> connection_;
  const int side_;
  Condition readable_;
  Condition writable_;
  bool closed_ = false;
  // Whether a Read and a Write are under way; shared with their coroutines, which a kill may
  // destroy after the stream.
  struct UnderWay {
    bool read = false;
    bool write = false;
  };
  const std::shared_ptr<UnderWay> under_way_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimLoop& loop, Network& network, Endpoint at);
  ~SimListener() override;

  Task<Result<std::unique_ptr<Stream>>> Accept() override;
  void Close() override;
  Endpoint local() const override { return at_; }

  SimLoop& loop() const { return loop_; }
  size_t waiting() const { return backlog_.size(); }
  void Offer(std::shared_ptr<Connection> connection);

 private:
  SimLoop& loop_;
  Network& network_;
  const Endpoint at_;
  Condition arrived_;
  std::deque<std::shared_ptr<Connection>> backlog_;
  bool closed_ = false;
};

}  // namespace moraine::sim
