// What the kernel tests share: a mount of a file system in memory on a directory of this machine,
// served by a loop on a thread of its own. Skipped where FUSE cannot be mounted.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/loop/descriptor.h"
#include "base/loop/uring_loop.h"
#include "base/random.h"
#include "fs/mount/fuse_session.h"
#include "fs/mount/memory_file_system.h"
#include "fs/mount/mount_point.h"

namespace moraine::fs::mount {

inline std::string Errno() { return std::strerror(errno); }

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  return file.good();
}

inline struct stat StatOf(const std::string& path) {
  struct stat found{};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path << ": " << Errno();
  return found;
}

inline int RunShell(const std::string& command) {
  const int state = std::system(command.c_str());
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

inline std::string RandomBytes(Random& random, size_t size) {
  std::vector<uint64_t> words(size / sizeof(uint64_t) + 1);
  for (uint64_t& word : words) word = random.Next();
  return {reinterpret_cast<const char*>(words.data()), size};
}

class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!CheckFuseDevice().ok() || geteuid() != 0) GTEST_SKIP() << "FUSE cannot be mounted here";
    char pattern[] = "/tmp/moraine-kernel-test-XXXXXX";
    root_ = mkdtemp(pattern);
    path_ = root_ + "/mount";
    ASSERT_EQ(mkdir(path_.c_str(), 0755), 0);
    auto loop = UringLoop::Create();
    if (!loop.ok()) GTEST_SKIP() << loop.status().ToString();
    loop_ = std::move(*loop);
    files_ = std::make_unique<MemoryFileSystem>(*loop_);
    const Status mounted = StartMount();
    if (mounted.code() == Code::kUnavailable) GTEST_SKIP() << mounted.ToString();
    ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  }

  void TearDown() override {
    if (thread_.joinable()) StopMount().Ignore();
    session_.reset();
    files_.reset();
    loop_.reset();
    if (!root_.empty()) {
      rmdir(path_.c_str());
      std::filesystem::remove_all(root_ + "/local");
      rmdir(root_.c_str());
    }
  }

  Status StartMount() {
    FuseOptions options;
    options.mountpoint = path_;
    options.source = "memory";
    options.mount_flags = {"allow_other"};
    auto session = FuseSession::Create(*loop_, *files_, options, metrics_);
    if (!session.ok()) return session.status();
    session_ = std::move(*session);
    MORAINE_RETURN_IF_ERROR(session_->Mount());
    thread_ = std::thread([this] { loop_->Run(); });
    std::promise<Status> ready;
    loop_->Post([&] {
      loop_->Spawn(Serve(this));
      loop_->Spawn(WaitReady(this, &ready));
    });
    return ready.get_future().get();
  }
  static Task<void> Serve(KernelTest* test) {
    const Status served = co_await test->session_->Serve();
    EXPECT_TRUE(served.ok()) << served.ToString();
  }
  static Task<void> WaitReady(KernelTest* test, std::promise<Status>* ready) {
    const bool is_ready = co_await test->session_->WaitReady(test->loop_->After(10s));
    ready->set_value(is_ready ? Status::Ok() : Status(Code::kTimeout, "no handshake"));
  }

  // As the program ends: detach, flush, let go. The first error of closing.
  Status StopMount() {
    std::promise<Status> stopped;
    loop_->Post([&] { loop_->Spawn(StopSession(this, &stopped)); });
    const Status status = stopped.get_future().get();
    thread_.join();
    return status;
  }
  static Task<void> StopSession(KernelTest* test, std::promise<Status>* stopped) {
    UringLoop& loop = *test->loop_;
    EXPECT_TRUE((co_await test->session_->Detach()).ok());
    co_await test->session_->WaitServed(loop.After(200ms));
    const Status status = co_await test->session_->Stop(loop.After(10s));
    loop.Stop();
    stopped->set_value(status);
  }

  // Runs `work` on the loop's thread.
  void OnLoop(std::function<void()> work) {
    std::promise<void> done;
    loop_->Post([&] {
      work();
      done.set_value();
    });
    done.get_future().get();
  }

  std::string At(const std::string& name) const { return path_ + "/" + name; }
  // A directory that is not on the mount.
  std::string Local() {
    std::filesystem::create_directories(root_ + "/local");
    return root_ + "/local";
  }
  Descriptor Open(const std::string& name, int flags, mode_t mode = 0644) {
    Descriptor file(open(At(name).c_str(), flags | O_CLOEXEC, mode));
    EXPECT_TRUE(file.valid()) << name << ": " << Errno();
    return file;
  }

  MetricRegistry metrics_;
  std::string root_;
  std::string path_;
  std::unique_ptr<UringLoop> loop_;
  std::unique_ptr<MemoryFileSystem> files_;
  std::unique_ptr<FuseSession> session_;
  std::thread thread_;
};

}  // namespace moraine::fs::mount
