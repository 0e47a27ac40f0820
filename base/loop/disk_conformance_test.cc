// Files and directories: what every loop with a disk promises (disk.h).
#include <algorithm>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/limits.h"
#include "base/loop/conformance.h"
#include "base/loop/task_group.h"
#include "base/random.h"

namespace moraine {
namespace {

constexpr OpenOptions kMake{.write = true, .create = true};

Task<Status> WriteText(File* file, uint64_t offset, std::string text) {
  const ConstBytes piece = AsBytes(text);
  co_return co_await file->WriteAt(offset, std::span(&piece, 1));
}

Task<Result<std::string>> ReadText(File* file, uint64_t offset, size_t bytes) {
  std::string text(bytes, '\0');
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t got, co_await file->ReadAt(offset, AsWritable(text)));
  text.resize(got);
  co_return text;
}

TEST_P(DiskConformance, WhatIsWrittenIsRead) {
  Run([&]() -> Task<void> {
    auto file = co_await disk().Open(Path("a"), kMake);
    CO_ASSERT_OK(file.status());
    CO_ASSERT_OK(co_await WriteText(file->get(), 0, "hello world"));
    CO_ASSERT_OK(co_await WriteText(file->get(), 6, "there"));
    CO_ASSERT_OK(co_await (*file)->Sync());
    const auto all = co_await ReadText(file->get(), 0, 100);  // ends where the file ends
    CO_ASSERT_OK(all.status());
    EXPECT_EQ(*all, "hello there");
    const auto middle = co_await ReadText(file->get(), 2, 5);
    CO_ASSERT_OK(middle.status());
    EXPECT_EQ(*middle, "llo t");
    const auto past = co_await ReadText(file->get(), 1000, 5);
    CO_ASSERT_OK(past.status());
    EXPECT_EQ(*past, "");
    const auto size = co_await (*file)->Size();
    CO_ASSERT_OK(size.status());
    EXPECT_EQ(*size, 11u);
  });
}

TEST_P(DiskConformance, OpenSaysWhatIsWrong) {
  Run([&]() -> Task<void> {
    const auto missing = co_await disk().Open(Path("missing"), {});
    EXPECT_EQ(missing.code(), Code::kNotFound);
    EXPECT_THAT(missing.status().message(), testing::HasSubstr(Path("missing")));
    const auto no_parent = co_await disk().Open(Path("missing/file"), kMake);
    EXPECT_EQ(no_parent.code(), Code::kNotFound);
    OpenOptions exclusive = kMake;
    exclusive.exclusive = true;
    const auto first = co_await disk().Open(Path("once"), exclusive);
    EXPECT_TRUE(first.ok()) << first.status().ToString();
    const auto second = co_await disk().Open(Path("once"), exclusive);
    EXPECT_EQ(second.code(), Code::kAlreadyExists);
    const auto again = co_await disk().Open(Path("once"), kMake);
    EXPECT_TRUE(again.ok()) << again.status().ToString();
  });
}

TEST_P(DiskConformance, PiecesLandOneBehindTheOther) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Run([&]() -> Task<void> {
    Random random(seed);
    std::string all;
    std::vector<size_t> sizes;
    for (int i = 0; i < 300; ++i) {
      sizes.push_back(random.OneIn(5) ? 0 : random.Uniform(9000));
      for (size_t n = 0; n < sizes.back(); ++n) all.push_back(static_cast<char>(random.Next()));
    }
    std::vector<ConstBytes> pieces;
    size_t offset = 0;
    for (const size_t size : sizes) {
      pieces.push_back(AsBytes(all).subspan(offset, size));
      offset += size;
    }
    auto file = co_await disk().Open(Path("pieces"), kMake);
    CO_ASSERT_OK(file.status());
    CO_ASSERT_OK(co_await (*file)->WriteAt(777, pieces));
    CO_ASSERT_OK(co_await (*file)->WriteAt(0, {}));
    const auto back = co_await ReadText(file->get(), 777, all.size() + 10);
    CO_ASSERT_OK(back.status());
    EXPECT_TRUE(*back == all);
    const auto hole = co_await ReadText(file->get(), 0, 777);
    CO_ASSERT_OK(hole.status());
    EXPECT_TRUE(*hole == std::string(777, '\0'));
  });
}

TEST_P(DiskConformance, ManyOperationsAtOnce) {
  constexpr int kWriters = 64;
  Run([&]() -> Task<void> {
    auto file = co_await disk().Open(Path("many"), kMake);
    CO_ASSERT_OK(file.status());
    TaskGroup group(loop_);
    auto work = [&](int i) -> Task<void> {
      const std::string text(5000, static_cast<char>('A' + i));
      CO_ASSERT_OK(co_await WriteText(file->get(), i * 5000, text));
      const auto back = co_await ReadText(file->get(), i * 5000, 5000);
      CO_ASSERT_OK(back.status());
      EXPECT_TRUE(*back == text);
      CO_ASSERT_OK(co_await (*file)->Sync());
    };
    for (int i = 0; i < kWriters; ++i) group.Spawn(work(i));
    co_await group.Drain();
    const auto size = co_await (*file)->Size();
    CO_ASSERT_OK(size.status());
    EXPECT_EQ(*size, kWriters * 5000u);
  });
}

TEST_P(DiskConformance, AllocateAndTruncate) {
  Run([&]() -> Task<void> {
    auto file = co_await disk().Open(Path("sized"), kMake);
    CO_ASSERT_OK(file.status());
    CO_ASSERT_OK(co_await WriteText(file->get(), 0, "abc"));
    CO_ASSERT_OK(co_await (*file)->Allocate(0, 10000));
    auto size = co_await (*file)->Size();
    CO_ASSERT_OK(size.status());
    EXPECT_EQ(*size, 10000u);
    CO_ASSERT_OK(co_await (*file)->Allocate(0, 100));  // never shrinks
    const auto text = co_await ReadText(file->get(), 0, 6);
    CO_ASSERT_OK(text.status());
    EXPECT_EQ(*text, std::string("abc\0\0\0", 6));
    CO_ASSERT_OK(co_await (*file)->Truncate(2));
    size = co_await (*file)->Size();
    CO_ASSERT_OK(size.status());
    EXPECT_EQ(*size, 2u);
    CO_ASSERT_OK(co_await (*file)->Truncate(4));
    const auto grown = co_await ReadText(file->get(), 0, 10);
    CO_ASSERT_OK(grown.status());
    EXPECT_EQ(*grown, std::string("ab\0\0", 4));
  });
}

struct AlignedFree {
  void operator()(std::byte* memory) const { std::free(memory); }
};

TEST_P(DiskConformance, DirectDurableWrites) {
  constexpr size_t kBytes = 4 * limits::kBlockBytes;
  Run([&]() -> Task<void> {
    const std::unique_ptr<std::byte, AlignedFree> memory(
        static_cast<std::byte*>(std::aligned_alloc(limits::kBlockBytes, kBytes)));
    const MutableBytes buffer(memory.get(), kBytes);
    std::fill(buffer.begin(), buffer.end(), std::byte{7});
    OpenOptions options = kMake;
    options.direct = true;
    options.durable_writes = true;
    auto file = co_await disk().Open(Path("direct"), options);
    CO_ASSERT_OK(file.status());
    const ConstBytes piece = buffer;
    CO_ASSERT_OK(co_await (*file)->WriteAt(limits::kBlockBytes, std::span(&piece, 1)));
    std::fill(buffer.begin(), buffer.end(), std::byte{1});
    const auto got = co_await (*file)->ReadAt(limits::kBlockBytes, buffer);
    CO_ASSERT_OK(got.status());
    EXPECT_EQ(*got, kBytes);
    EXPECT_TRUE(
        std::all_of(buffer.begin(), buffer.end(), [](std::byte b) { return b == std::byte{7}; }));
    // A file that ends inside a block is read to its end.
    CO_ASSERT_OK(co_await (*file)->Truncate(limits::kBlockBytes + 100));
    const auto tail = co_await (*file)->ReadAt(limits::kBlockBytes, buffer);
    CO_ASSERT_OK(tail.status());
    EXPECT_EQ(*tail, 100u);
  });
}

TEST_P(DiskConformance, DirectoriesListRenameRemove) {
  Run([&]() -> Task<void> {
    CO_ASSERT_OK(co_await disk().MakeDirectory(Path("dir")));
    EXPECT_EQ((co_await disk().MakeDirectory(Path("dir"))).code(), Code::kAlreadyExists);
    CO_ASSERT_OK((co_await disk().Open(Path("dir/x"), kMake)).status());
    CO_ASSERT_OK((co_await disk().Open(Path("dir/y"), kMake)).status());
    CO_ASSERT_OK(co_await disk().MakeDirectory(Path("dir/sub")));
    CO_ASSERT_OK(co_await disk().Rename(Path("dir/x"), Path("dir/z")));
    CO_ASSERT_OK(co_await disk().Rename(Path("dir/y"), Path("dir/z")));  // takes its place
    CO_ASSERT_OK(co_await disk().SyncDirectory(Path("dir")));
    auto entries = co_await disk().List(Path("dir"));
    CO_ASSERT_OK(entries.status());
    std::vector<std::string> names;
    for (const DirectoryEntry& entry : *entries) {
      names.push_back(entry.name);
      EXPECT_EQ(entry.is_directory, entry.name == "sub");
    }
    EXPECT_THAT(names, testing::UnorderedElementsAre("z", "sub"));
    EXPECT_FALSE((co_await disk().Remove(Path("dir"))).ok());
    CO_ASSERT_OK(co_await disk().Remove(Path("dir/z")));
    CO_ASSERT_OK(co_await disk().Remove(Path("dir/sub")));
    CO_ASSERT_OK(co_await disk().Remove(Path("dir")));
    EXPECT_EQ((co_await disk().Remove(Path("dir"))).code(), Code::kNotFound);
    EXPECT_EQ((co_await disk().List(Path("dir"))).code(), Code::kNotFound);
    EXPECT_EQ((co_await disk().SyncDirectory(Path("dir"))).code(), Code::kNotFound);
    const Status rename = co_await disk().Rename(Path("nothing"), Path("else"));
    EXPECT_EQ(rename.code(), Code::kNotFound);
  });
}

TEST_P(DiskConformance, ALockIsHeldByOne) {
  Run([&]() -> Task<void> {
    auto first = disk().Lock(Path("LOCK"));
    CO_ASSERT_OK(first.status());
    EXPECT_EQ(disk().Lock(Path("LOCK")).code(), Code::kBusy);
    first->reset();
    CO_ASSERT_OK(disk().Lock(Path("LOCK")).status());
    co_return;
  });
}

TEST_P(DiskConformance, SpaceIsKnown) {
  Run([&]() -> Task<void> {
    const auto space = disk().Space(harness_->directory());
    CO_ASSERT_OK(space.status());
    EXPECT_GT(space->total_bytes, 0u);
    EXPECT_LE(space->free_bytes, space->total_bytes);
    co_return;
  });
}

}  // namespace
}  // namespace moraine
