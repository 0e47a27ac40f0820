// A server with a few calls whose answers a test can foretell, and what its callers need. Used by
// the tests of rpc/ over every loop.
//
//   getAttributes(n)   inode n
//   lookup             the error kNotFound with the name in its words
//   syncMetadata(n)    after n milliseconds
//   getXattr(n)        a value of n bytes
//   append             takes raw bytes; held: how many, synced: their hash
//   read(offset, n)    n raw bytes that depend on the offset, held for `chunk` milliseconds first
//   deleteReplica      for metaservers only
//   acquireDirectory   nobody answers: unknown here
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/random.h"
#include "rpc/client.h"
#include "rpc/server.h"

namespace moraine::rpc {

// Bytes that differ from place to place, with a period that no power of two divides.
inline Buffer PatternBuffer(uint64_t offset, size_t size) {
  static const std::vector<uint64_t> table = [] {
    std::vector<uint64_t> words(9973);
    for (size_t i = 0; i < words.size(); ++i) words[i] = MixBits(i);
    return words;
  }();
  const ConstBytes period = std::as_bytes(std::span(table));
  Buffer buffer = Buffer::Allocate(size);
  for (size_t done = 0; done < size;) {
    const ConstBytes from = period.subspan((offset + done) % period.size());
    const size_t part = std::min(from.size(), size - done);
    std::memcpy(buffer.data() + done, from.data(), part);
    done += part;
  }
  return buffer;
}
inline bool SameBytes(ConstBytes a, ConstBytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}
inline int64_t HashOf(ConstBytes bytes) { return static_cast<int64_t>(BlockChecksum(bytes)); }

// The seed of a random test, told at once: a time-out would swallow a trace.
inline uint64_t AnnouncedSeed() {
  const uint64_t seed = SeedFromEnvironment();
  fmt::print("MORAINE_SEED={}\n", seed);
  std::fflush(stdout);
  return seed;
}

class TestService {
 public:
  TestService(Loop& loop, Identity self, ServerOptions options)
      : loop_(loop), server(loop, std::move(self), std::move(options), metrics) {
    Register();
  }

  MetricRegistry metrics;

 private:
  Loop& loop_;

 public:
  Server server;
  std::vector<int64_t> appended;  // offsets, in the order in which the calls began
  int running = 0;                // syncMetadata
  int running_max = 0;
  int reads = 0;
  // Of answers to read: how many are in memory, from the handler to the socket.
  std::shared_ptr<int64_t> answer_bytes = std::make_shared<int64_t>(0);
  int64_t answer_bytes_max = 0;
  size_t misaligned = 0;

 private:
  // What a request may ask for: its numbers may come from anywhere.
  static constexpr uint64_t kSleepMax = 60'000;  // milliseconds
  static constexpr uint64_t kValueBytesMax = 2 * limits::kFrameBytesMax;
  static bool InBounds(int64_t number, uint64_t max) {
    return number >= 0 && static_cast<uint64_t>(number) <= max;
  }
  // Counts a buffer while somebody holds it.
  struct Counted {
    Counted(Buffer buffer, std::shared_ptr<int64_t> total)
        : buffer(std::move(buffer)), total(std::move(total)) {
      *this->total += static_cast<int64_t>(this->buffer.size());
    }
    ~Counted() { *total -= static_cast<int64_t>(buffer.size()); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    const Buffer buffer;
    const std::shared_ptr<int64_t> total;
  };

  void Register() {
    server.Handle(
        idl::kGetAttributes,
        [](CallContext&, idl::InodeRequest request) -> Task<Result<idl::AttributesResponse>> {
          idl::AttributesResponse response;
          response.attributes.inode = request.inode;
          co_return response;
        });
    server.Handle(
        idl::kLookup,
        [](CallContext&, idl::EntryRequest request) -> Task<Result<idl::AttributesResponse>> {
          co_return Status(Code::kNotFound, "no file '" + request.name + "'");
        });
    server.Handle(
        idl::kSyncMetadata,
        [this](CallContext&, idl::InodeRequest request) -> Task<Result<idl::SyncMetadataResponse>> {
          return Sleep(this, request.inode);
        });
    server.Handle(
        idl::kGetXattr,
        [](CallContext&, idl::GetXattrRequest request) -> Task<Result<idl::GetXattrResponse>> {
          if (!InBounds(request.inode, kValueBytesMax)) {
            co_return Status(Code::kTooLarge, "a long value");
          }
          idl::GetXattrResponse response;
          response.value.assign(static_cast<size_t>(request.inode), 'v');
          co_return response;
        });
    server.Handle(idl::kAppend,
                  [this](CallContext& context,
                         idl::AppendRequest request) -> Task<Result<idl::AppendResponse>> {
                    return Append(this, &context, std::move(request));
                  });
    server.Handle(
        idl::kRead,
        [this](CallContext& context, idl::ReadRequest request) -> Task<Result<idl::ReadResponse>> {
          return Read(this, &context, std::move(request));
        });
    server.Handle(idl::kDeleteReplica,
                  [](CallContext&, idl::DeleteReplicaRequest) -> Task<Result<idl::Nothing>> {
                    co_return idl::Nothing();
                  });
    server.Restrict("deleteReplica", {idl::Role::kMetaserver});
  }

  static Task<Result<idl::SyncMetadataResponse>> Sleep(TestService* self, int64_t milliseconds) {
    if (!InBounds(milliseconds, kSleepMax)) co_return Status(Code::kTooLarge, "a long sleep");
    self->running_max = std::max(self->running_max, ++self->running);
    co_await self->loop_.Sleep(std::chrono::milliseconds(milliseconds));
    --self->running;
    co_return idl::SyncMetadataResponse();
  }
  static Task<Result<idl::AppendResponse>> Append(TestService* self, CallContext* context,
                                                  idl::AppendRequest request) {
    self->appended.push_back(request.offset);
    const auto address = reinterpret_cast<uintptr_t>(context->bulk_in.data());
    const auto alignment = static_cast<uint64_t>(context->header.bulk_alignment);
    if (!context->bulk_in.empty() && address % limits::kBlockBytes != alignment) ++self->misaligned;
    idl::AppendResponse response;
    response.held = static_cast<int64_t>(context->bulk_in.size());
    response.synced = HashOf(context->bulk_in.bytes());
    co_return response;
  }
  static Task<Result<idl::ReadResponse>> Read(TestService* self, CallContext* context,
                                              idl::ReadRequest request) {
    if (!InBounds(request.length, limits::kReadBytesMax) || !InBounds(request.chunk, kSleepMax)) {
      co_return Status(Code::kTooLarge, "a read out of bounds");
    }
    ++self->reads;
    auto counted = std::make_shared<const Counted>(
        PatternBuffer(static_cast<uint64_t>(request.offset), static_cast<size_t>(request.length)),
        self->answer_bytes);
    self->answer_bytes_max = std::max(self->answer_bytes_max, *self->answer_bytes);
    if (request.chunk > 0) co_await self->loop_.Sleep(std::chrono::milliseconds(request.chunk));
    if (request.length > 0) {
      context->bulk_out.pieces.push_back(counted->buffer.bytes());
      context->bulk_out.owners.push_back(counted);
    }
    idl::ReadResponse response;
    response.offset = request.offset;
    co_return response;
  }
};

inline Identity MetaserverIdentity() {
  return {idl::Role::kMetaserver, "cluster-a", "server", ServerId()};
}
inline Identity ClientIdentity() { return {idl::Role::kClient, "", "client", ServerId()}; }

inline CallOptions Within(Loop& loop, Duration time) {
  CallOptions options;
  options.deadline = loop.After(time);
  return options;
}

// What the calls of one conversation must give, whatever carries them; returns the first thing that
// is not as it must be.
inline Task<Status> CheckEcho(Loop* loop, Channel* channel, int64_t number, Duration time) {
  idl::InodeRequest request;
  request.inode = number;
  auto response = co_await channel->Ask(idl::kGetAttributes, request, Within(*loop, time));
  if (!response.ok()) co_return response.status();
  if (response->attributes.inode != number)
    co_return Status(Code::kInternal, "an answer to another question");
  co_return Status();
}

inline Task<Status> CheckAppend(Loop* loop, Channel* channel, int64_t offset, size_t size,
                                size_t alignment, Duration time) {
  auto buffer = PatternBuffer(static_cast<uint64_t>(offset), size).Share();
  CallOptions options = Within(*loop, time);
  options.bulk_alignment = alignment;
  // Two pieces: they are to arrive as one.
  options.bulk.Add(buffer, buffer->bytes().first(size / 3));
  options.bulk.Add(buffer, buffer->bytes().subspan(size / 3));
  idl::AppendRequest request;
  request.offset = offset;
  auto response = co_await channel->Ask(idl::kAppend, request, std::move(options));
  if (!response.ok()) co_return response.status();
  const bool same =
      response->held == static_cast<int64_t>(size) && response->synced == HashOf(buffer->bytes());
  co_return same ? Status() : Status(Code::kCorruption, "the server got other bytes");
}

inline Task<Status> CheckRead(Loop* loop, Channel* channel, int64_t offset, int32_t length,
                              Duration time) {
  idl::ReadRequest request;
  request.offset = offset;
  request.length = length;
  auto reply = co_await channel->Call(idl::kRead, request, Within(*loop, time));
  if (!reply.ok()) co_return reply.status();
  const Buffer expected = PatternBuffer(static_cast<uint64_t>(offset), static_cast<size_t>(length));
  const bool same = SameBytes(reply->bulk.bytes(), expected.bytes());
  co_return same ? Status() : Status(Code::kCorruption, "the client got other bytes");
}

}  // namespace moraine::rpc
