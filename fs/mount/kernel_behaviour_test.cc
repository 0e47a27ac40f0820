// How a mount behaves: other mounts' changes, errors, killed processes, its end, many programs at
// once, ordinary programs.
#include <dirent.h>
#include <signal.h>

#include "fs/mount/kernel_fixture.h"

namespace moraine::fs::mount {
namespace {

TEST_F(KernelTest, WhatAnotherMountWroteIsSeenByTheNextOpen) {
  ASSERT_TRUE(WriteFile(At("f"), "old content"));
  InodeId inode;
  OnLoop([&] { inode = files_->Find(kRootInode, "f"); });
  for (const std::string bytes : {"new", "a much longer one", "the same length..", ""}) {
    ReadFile(At("f"));
    OnLoop([&] { files_->WriteElsewhere(inode, bytes); });
    EXPECT_EQ(ReadFile(At("f")), bytes);
    EXPECT_EQ(static_cast<size_t>(StatOf(At("f")).st_size), bytes.size());
  }
}

TEST_F(KernelTest, AnotherMountsRenameOverIsSeenByTheNextOpen) {
  ASSERT_TRUE(WriteFile(At("f"), "old"));
  ASSERT_TRUE(WriteFile(At("new"), "new"));
  DIR* directory = opendir(path_.c_str());  // the kernel now believes the names for a while
  while (readdir(directory) != nullptr) {
  }
  closedir(directory);
  std::promise<void> renamed;
  loop_->Post([&] {
    const auto rename = [](MemoryFileSystem* files, std::promise<void>* done) -> Task<void> {
      EXPECT_TRUE(
          (co_await files->Rename(kRootInode, "new", kRootInode, "f", RenameMode::kReplace)).ok());
      done->set_value();
    };
    loop_->Spawn(rename(files_.get(), &renamed));
  });
  renamed.get_future().get();
  EXPECT_EQ(ReadFile(At("f")), "new");
}

TEST_F(KernelTest, StalePagesOfAnOpenFileAreDropped) {
  ASSERT_TRUE(WriteFile(At("f"), "aaaa"));
  const Descriptor file = Open("f", O_RDONLY);
  char got[5] = {};
  ASSERT_EQ(pread(file.get(), got, 4, 0), 4);
  for (const std::string now : {"bbbb", "cccc", "dddd"}) {
    OnLoop([&] {
      const InodeId inode = files_->Find(kRootInode, "f");
      files_->WriteElsewhere(inode, now);
      files_->TellStale(inode);
    });
    // The kernel is told by another thread, so it takes a moment.
    for (int i = 0; i < 1000 && got != now; ++i) {
      usleep(1000);
      ASSERT_EQ(pread(file.get(), got, 4, 0), 4);
    }
    EXPECT_EQ(got, now);
  }
}

TEST_F(KernelTest, ErrorsReachTheProgram) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(pwrite(file.get(), "x", 1, 0), 1);
  const auto fail = [this](Code code) {
    OnLoop([&] { files_->FailWith(code == Code::kOk ? Status() : Status(code, "as told")); });
  };
  fail(Code::kNoSpace);
  EXPECT_EQ(pwrite(file.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(fsync(file.get()), -1);
  EXPECT_EQ(errno, ENOSPC);
  fail(Code::kTimeout);
  struct stat found{};
  EXPECT_EQ(stat(At("f").c_str(), &found), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
  fail(Code::kUnavailable);
  EXPECT_EQ(close(dup(file.get())), -1);
  EXPECT_EQ(errno, EIO);
  fail(Code::kOk);
  EXPECT_EQ(stat(At("f").c_str(), &found), 0) << "the mount works again by itself";
  EXPECT_EQ(pwrite(file.get(), "y", 1, 0), 1);
}

TEST_F(KernelTest, AProcessThatIsKilledDoesNotWaitForTheServers) {
  ASSERT_TRUE(WriteFile(At("f"), "x"));
  int before = 0;
  OnLoop([&] {
    files_->Pause();
    before = files_->calls();
  });
  const std::string name = At("f");
  const pid_t child = fork();
  if (child == 0) {
    struct stat found{};
    _exit(stat(name.c_str(), &found) == 0 ? 0 : 1);
  }
  int calls = before;
  while (calls == before) {
    usleep(1000);
    OnLoop([&] { calls = files_->calls(); });
  }
  ASSERT_EQ(kill(child, SIGKILL), 0);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);  // the test's time limit is the assertion
  EXPECT_TRUE(WIFSIGNALED(state));
  OnLoop([&] { files_->Resume(); });
  EXPECT_EQ(ReadFile(name), "x");
}

TEST_F(KernelTest, OrdinarySignalsInterruptNothing) {
  ASSERT_TRUE(WriteFile(At("f"), "x"));
  struct sigaction action{};
  action.sa_handler = [](int) {};
  struct sigaction old{};
  sigaction(SIGUSR1, &action, &old);  // without SA_RESTART
  OnLoop([&] { files_->Pause(); });
  const pthread_t self = pthread_self();
  std::thread signaller([&] {
    for (int i = 0; i < 20; ++i) {
      pthread_kill(self, SIGUSR1);
      usleep(10'000);
    }
    OnLoop([&] { files_->Resume(); });
  });
  struct stat found{};
  EXPECT_EQ(stat(At("f").c_str(), &found), 0) << Errno();
  signaller.join();
  sigaction(SIGUSR1, &old, nullptr);
}

TEST_F(KernelTest, StopFlushesWhatIsStillOpen) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(pwrite(file.get(), "kept", 4, 0), 4);
  EXPECT_TRUE(StopMount().ok());
  EXPECT_FALSE(FindMount(path_).has_value());
  EXPECT_EQ(files_->opens(), 0);
  EXPECT_EQ(files_->BytesOf(files_->Find(kRootInode, "f")), "kept");
  session_.reset();
  EXPECT_EQ(pwrite(file.get(), "late", 4, 0), -1);
}

TEST_F(KernelTest, ManyProcessesAtOnce) {
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([this, i] {
      Random random(static_cast<uint64_t>(i));
      const std::string directory = fmt::format("d{}", i);
      ASSERT_EQ(mkdir(At(directory).c_str(), 0755), 0);
      for (int j = 0; j < 60; ++j) {
        const std::string name = At(fmt::format("{}/{}", directory, j));
        const std::string bytes = RandomBytes(random, random.Uniform(200'000));
        ASSERT_TRUE(WriteFile(name, bytes));
        ASSERT_TRUE(ReadFile(name) == bytes) << name;
        if (j % 3 == 0) ASSERT_EQ(unlink(name.c_str()), 0);
      }
      EXPECT_EQ(std::distance(std::filesystem::directory_iterator(At(directory)),
                              std::filesystem::directory_iterator()),
                40);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST_F(KernelTest, OrdinaryProgramsWork) {
  const std::string local = Local();
  ASSERT_EQ(RunShell(fmt::format("mkdir -p {0}/tree/sub && cp /bin/ls {0}/tree/ && "
                                 "head -c 3000000 /dev/urandom > {0}/tree/sub/big && "
                                 "ln -s sub/big {0}/tree/link && ln {0}/tree/ls {0}/tree/ls2 && "
                                 "touch -d 2001-02-03T04:05:06.789 {0}/tree/sub/old",
                                 local)),
            0);
  EXPECT_EQ(
      RunShell(fmt::format("cp -a {0}/tree {1}/copy && diff -r {0}/tree {1}/copy", local, path_)),
      0);
  EXPECT_EQ(RunShell(fmt::format("tar -C {0} -cf - tree | tar -C {1} -xf - && "
                                 "diff -r {0}/tree {1}/tree",
                                 local, path_)),
            0);
  EXPECT_EQ(StatOf(At("tree/sub/old")).st_mtim.tv_sec,
            StatOf(local + "/tree/sub/old").st_mtim.tv_sec);
  EXPECT_EQ(StatOf(At("tree/ls")).st_nlink, 2u);
  EXPECT_EQ(RunShell(fmt::format("{}/copy/ls / > /dev/null", path_)), 0) << "can be executed";
  EXPECT_EQ(RunShell(fmt::format("cd {} && seq 1000 > n && sed -i s/5/five/ n && "
                                 "test $(grep -c five n) = 271 && mv n m && rm -r copy tree",
                                 path_)),
            0);
}

TEST_F(KernelTest, GitWorks) {
  if (RunShell("git --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no git";
  const std::string git = "git -c user.name=t -c user.email=t@t -c init.defaultBranch=m ";
  EXPECT_EQ(RunShell(fmt::format(
                "cd {} && mkdir r && cd r && {{ {git} init -q . && "
                "for i in $(seq 50); do echo $i > f$i; done && {git} add . && "
                "{git} commit -qm one && echo two > f1 && "
                "{git} commit -qam two && {git} clone -q . ../c && {git} -C ../c fsck --strict && "
                "{git} gc -q && test $(cat ../c/f1) = two && "
                "test -z \"$({git} status --porcelain)\"; }} > /dev/null 2>&1",
                path_, fmt::arg("git", git))),
            0);
}

}  // namespace
}  // namespace moraine::fs::mount
