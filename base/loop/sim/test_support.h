// What the tests of the simulation share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/loop/sim/world.h"

namespace moraine::sim {

inline ConstBytes Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline MutableBytes Writable(std::string& text) {
  return std::as_writable_bytes(std::span(text.data(), text.size()));
}

// Runs `body` on the machine's loop to its end; the body's captures stay in this frame.
inline void RunOn(World& world, Machine& machine, std::function<Task<void>()> body,
                  Duration limit = 1h) {
  SCOPED_TRACE(world.Describe());
  struct Caller {
    static Task<void> Call(std::function<Task<void>()> body) { co_await body(); }
  };
  EXPECT_TRUE(world.Await(machine.loop(), Caller::Call(std::move(body)), limit)) << world.Trace();
}

inline Task<Result<std::unique_ptr<File>>> OpenFile(Disk& disk, std::string path) {
  co_return co_await disk.Open(std::move(path), {.write = true, .create = true});
}

inline Task<Status> WriteText(File& file, uint64_t offset, std::string text) {
  const ConstBytes piece = Bytes(text);
  co_return co_await file.WriteAt(offset, std::span(&piece, 1));
}

inline Task<Status> SendText(Stream& stream, std::string text) {
  const ConstBytes piece = Bytes(text);
  co_return co_await stream.Write(std::span(&piece, 1));
}

// Reads exactly `length` bytes, or what came before the end.
inline Task<Result<std::string>> ReceiveText(Stream& stream, size_t length) {
  std::string text(length, '\0');
  size_t done = 0;
  while (done < length) {
    Result<size_t> got = co_await stream.Read(Writable(text).subspan(done));
    if (!got.ok()) co_return got.status();
    if (*got == 0) break;
    done += *got;
  }
  text.resize(done);
  co_return text;
}

}  // namespace moraine::sim
