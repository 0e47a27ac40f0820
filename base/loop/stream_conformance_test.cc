// Streams and listeners: what every loop promises (net.h).
#include <algorithm>
#include <optional>
#include <vector>

#include "base/hash.h"
#include "base/loop/conformance.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/random.h"

namespace moraine {
namespace {

struct Pair {
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Stream> client;
  std::unique_ptr<Stream> server;
};

Task<void> AcceptInto(Listener* listener, std::unique_ptr<Stream>* stream) {
  auto accepted = co_await listener->Accept();
  EXPECT_TRUE(accepted.ok()) << accepted.status().ToString();
  if (accepted.ok()) *stream = std::move(*accepted);
}

Task<Result<Pair>> Connected(Loop* loop, Endpoint at) {
  Pair pair;
  MORAINE_CO_ASSIGN_OR_RETURN(pair.listener, loop->Listen(at));
  TaskGroup group(*loop);
  group.Spawn(AcceptInto(pair.listener.get(), &pair.server));
  auto client = co_await loop->Connect(pair.listener->local(), loop->After(10s));
  co_await group.Drain();
  if (!client.ok()) co_return client.status();
  pair.client = std::move(*client);
  co_return pair;
}

Task<Status> WriteText(Stream* stream, std::string text) {
  const ConstBytes piece = AsBytes(text);
  co_return co_await stream->Write(std::span(&piece, 1));
}

// Reads until `bytes` have come or the stream ends.
Task<std::string> ReadText(Stream* stream, size_t bytes) {
  std::string text(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    const auto got = co_await stream->Read(AsWritable(text).subspan(done));
    EXPECT_TRUE(got.ok()) << got.status().ToString();
    if (!got.ok() || *got == 0) break;
    done += *got;
  }
  text.resize(done);
  co_return text;
}

TEST_P(LoopConformance, StreamsCarryBytesBothWays) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    EXPECT_NE(pair->listener->local().port, 0);
    EXPECT_FALSE(pair->client->peer().empty());
    for (int i = 0; i < 100; ++i) {
      const std::string question = "question " + std::to_string(i);
      CO_ASSERT_OK(co_await WriteText(pair->client.get(), question));
      const std::string heard = co_await ReadText(pair->server.get(), question.size());
      EXPECT_EQ(heard, question);
      CO_ASSERT_OK(co_await WriteText(pair->server.get(), "answer"));
      const std::string answer = co_await ReadText(pair->client.get(), 6);
      EXPECT_EQ(answer, "answer");
    }
  });
}

TEST_P(LoopConformance, AReadGivesWhatIsThere) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    CO_ASSERT_OK(co_await WriteText(pair->client.get(), "abc"));
    std::string buffer(1000, '\0');
    const auto got = co_await pair->server->Read(AsWritable(buffer));
    CO_ASSERT_OK(got.status());
    EXPECT_EQ(*got, 3u);
    EXPECT_EQ(buffer.substr(0, 3), "abc");
  });
}

TEST_P(LoopConformance, ClosingIsTheEndForThePeerAfterAllBytes) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    CO_ASSERT_OK(co_await WriteText(pair->client.get(), "last words"));
    pair->client->Close();
    const std::string heard = co_await ReadText(pair->server.get(), 100);
    EXPECT_EQ(heard, "last words");
    std::string buffer(10, '\0');
    const auto end = co_await pair->server->Read(AsWritable(buffer));
    CO_ASSERT_OK(end.status());
    EXPECT_EQ(*end, 0u);
    const auto own = co_await pair->client->Read(AsWritable(buffer));
    EXPECT_EQ(own.code(), Code::kCanceled);
    const Status write = co_await WriteText(pair->client.get(), "x");
    EXPECT_EQ(write.code(), Code::kCanceled);
  });
}

TEST_P(LoopConformance, CloseEndsAReadUnderWay) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    std::optional<Code> end;
    auto read = [&]() -> Task<void> {
      std::string buffer(10, '\0');
      const auto got = co_await pair->server->Read(AsWritable(buffer));
      end = got.code();
    };
    TaskGroup group(loop_);
    group.Spawn(read());
    co_await loop_.Sleep(2ms);
    EXPECT_FALSE(end.has_value());
    pair->server->Close();
    const bool drained = co_await group.Drain(loop_.After(10s));
    EXPECT_TRUE(drained);
    EXPECT_EQ(end, Code::kCanceled);
  });
}

TEST_P(LoopConformance, CloseEndsAWriteUnderWay) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    std::optional<Code> end;
    auto write = [&]() -> Task<void> {
      const Status status = co_await WriteText(pair->client.get(), std::string(64 << 20, 'x'));
      end = status.code();
    };
    TaskGroup group(loop_);
    group.Spawn(write());  // nobody reads: it cannot finish
    co_await loop_.Sleep(5ms);
    EXPECT_FALSE(end.has_value());
    pair->client->Close();
    const bool drained = co_await group.Drain(loop_.After(10s));
    EXPECT_TRUE(drained);
    EXPECT_EQ(end, Code::kCanceled);
  });
}

TEST_P(LoopConformance, AVanishedPeerIsAnEndOrUnavailableAndWritesFail) {
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    // Unread bytes make a real socket reset the connection.
    CO_ASSERT_OK(co_await WriteText(pair->client.get(), "never read"));
    co_await loop_.Sleep(2ms);
    pair->server.reset();
    Status status;
    const Instant deadline = loop_.After(20s);
    while (status.ok() && loop_.Now() < deadline) {
      status = co_await WriteText(pair->client.get(), "more");
      co_await loop_.Sleep(1ms);
    }
    EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
    std::string buffer(10, '\0');
    const auto got = co_await pair->client->Read(AsWritable(buffer));
    EXPECT_TRUE(got.code() == Code::kUnavailable || (got.ok() && *got == 0));
  });
}

TEST_P(LoopConformance, ManyPiecesOfAllSizesArriveInOrder) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    Random random(seed);
    std::string all;
    std::vector<size_t> sizes;
    for (size_t i = 0; i < Stream::kPiecesMax; ++i) {
      sizes.push_back(random.OneIn(4) ? 0 : random.Uniform(20000));
      for (size_t n = 0; n < sizes.back(); ++n) all.push_back(static_cast<char>(random.Next()));
    }
    auto write = [&]() -> Task<void> {
      std::vector<ConstBytes> pieces;
      size_t offset = 0;
      for (const size_t size : sizes) {
        pieces.push_back(AsBytes(all).subspan(offset, size));
        offset += size;
      }
      const Status status = co_await pair->client->Write(pieces);
      EXPECT_TRUE(status.ok()) << status.ToString();
    };
    TaskGroup group(loop_);
    group.Spawn(write());
    const std::string heard = co_await ReadText(pair->server.get(), all.size());
    EXPECT_TRUE(heard == all);
    co_await group.Drain();
    CO_ASSERT_OK(co_await pair->client->Write({}));  // nothing at all is fine
  });
}

TEST_P(LoopConformance, HugeTransfersCrossInBothDirections) {
  constexpr size_t kBytes = 24 << 20;
  Run([&]() -> Task<void> {
    auto pair = co_await Connected(&loop_, AnyPort());
    CO_ASSERT_OK(pair.status());
    std::string there(kBytes, '\0');
    std::string back(kBytes, '\0');
    for (size_t i = 0; i < kBytes; i += 8) {
      there[i] = static_cast<char>(i >> 10);
      back[i] = static_cast<char>(i >> 7);
    }
    auto write = [](Stream* stream, const std::string* text) -> Task<void> {
      const Status status = co_await WriteText(stream, *text);
      EXPECT_TRUE(status.ok()) << status.ToString();
    };
    auto read = [](Stream* stream, const std::string* expected) -> Task<void> {
      const std::string heard = co_await ReadText(stream, expected->size());
      EXPECT_TRUE(heard == *expected);
    };
    TaskGroup group(loop_);
    group.Spawn(write(pair->client.get(), &there));
    group.Spawn(write(pair->server.get(), &back));
    group.Spawn(read(pair->server.get(), &there));
    group.Spawn(read(pair->client.get(), &back));
    const bool drained = co_await group.Drain(loop_.After(60s));
    EXPECT_TRUE(drained);
  });
}

TEST_P(LoopConformance, ATakenPortIsBusyAndFreeAfterClose) {
  Run([&]() -> Task<void> {
    auto first = loop_.Listen(AnyPort());
    CO_ASSERT_OK(first.status());
    const Endpoint at = (*first)->local();
    const auto second = loop_.Listen(at);
    EXPECT_EQ(second.code(), Code::kBusy);
    (*first)->Close();
    const auto third = loop_.Listen(at);
    CO_ASSERT_OK(third.status());
    EXPECT_EQ((*third)->local(), at);
  });
}

TEST_P(LoopConformance, CloseEndsAnAcceptUnderWay) {
  Run([&]() -> Task<void> {
    auto listener = loop_.Listen(AnyPort());
    CO_ASSERT_OK(listener.status());
    std::optional<Code> end;
    auto accept = [&]() -> Task<void> {
      const auto stream = co_await (*listener)->Accept();
      end = stream.code();
    };
    TaskGroup group(loop_);
    group.Spawn(accept());
    co_await loop_.Sleep(2ms);
    (*listener)->Close();
    const bool drained = co_await group.Drain(loop_.After(10s));
    EXPECT_TRUE(drained);
    EXPECT_EQ(end, Code::kCanceled);
    const auto after = co_await (*listener)->Accept();
    EXPECT_EQ(after.code(), Code::kCanceled);
  });
}

TEST_P(LoopConformance, ConnectToNobodyIsUnavailable) {
  Run([&]() -> Task<void> {
    auto listener = loop_.Listen(AnyPort());
    CO_ASSERT_OK(listener.status());
    const Endpoint at = (*listener)->local();
    (*listener)->Close();
    listener->reset();
    const Instant start = loop_.Now();
    const auto stream = co_await loop_.Connect(at, loop_.After(10s));
    EXPECT_EQ(stream.code(), Code::kUnavailable) << stream.status().ToString();
    EXPECT_LT(loop_.Now() - start, 5s);
  });
}

TEST_P(LoopConformance, ConnectToAnUnknownHostIsUnavailable) {
  Run([&]() -> Task<void> {
    const auto stream = co_await loop_.Connect({"no-such-host.invalid", 7}, loop_.After(20s));
    EXPECT_TRUE(stream.code() == Code::kUnavailable || stream.code() == Code::kTimeout)
        << stream.status().ToString();
  });
}

TEST_P(LoopConformance, ConnectEndsAtItsDeadline) {
  Run([&]() -> Task<void> {
    const Instant start = loop_.Now();
    const auto stream = co_await loop_.Connect(harness_->silent(), start + 20ms);
    EXPECT_EQ(stream.code(), Code::kTimeout) << stream.status().ToString();
    EXPECT_GE(loop_.Now(), start + 20ms);
    EXPECT_LT(loop_.Now(), start + 10s);
  });
}

// One connection of a crowd: says its number and must hear it again.
Task<void> SayNumber(Loop* loop, Endpoint at, int number, int* right) {
  auto stream = co_await loop->Connect(at, loop->After(20s));
  CO_ASSERT_OK(stream.status());
  const std::string text = "number " + std::to_string(100000 + number);
  CO_ASSERT_OK(co_await WriteText(stream->get(), text));
  const std::string heard = co_await ReadText(stream->get(), text.size());
  if (heard == text) ++*right;
}

Task<void> EchoUntilEnd(std::unique_ptr<Stream> stream) {
  std::string buffer(64, '\0');
  while (true) {
    const auto got = co_await stream->Read(AsWritable(buffer));
    if (!got.ok() || *got == 0) co_return;
    CO_ASSERT_OK(co_await WriteText(stream.get(), buffer.substr(0, *got)));
  }
}

Task<void> EchoAll(Listener* listener, TaskGroup* group) {
  while (true) {
    auto stream = co_await listener->Accept();
    if (!stream.ok()) co_return;
    group->Spawn(EchoUntilEnd(std::move(*stream)));
  }
}

TEST_P(LoopConformance, ACrowdOfConnectionsIsServed) {
  constexpr int kConnections = 200;
  int right = 0;
  Run([&]() -> Task<void> {
    auto listener = loop_.Listen(AnyPort());
    CO_ASSERT_OK(listener.status());
    TaskGroup servers(loop_);
    TaskGroup clients(loop_);
    servers.Spawn(EchoAll(listener->get(), &servers));
    for (int i = 0; i < kConnections; ++i) {
      clients.Spawn(SayNumber(&loop_, (*listener)->local(), i, &right));
    }
    co_await clients.Drain();
    (*listener)->Close();
    const bool drained = co_await servers.Drain(loop_.After(20s));
    EXPECT_TRUE(drained);
  });
  EXPECT_EQ(right, kConnections);
}

}  // namespace
}  // namespace moraine
