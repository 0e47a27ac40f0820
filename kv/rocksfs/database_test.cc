// RocksDB itself on this file system, over a cluster in memory: two "processes" share one server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include <thread>

#include "base/random.h"
#include "kv/rocksfs/file_system.h"
#include "kv/rocksfs/memory_cluster.h"

namespace moraine::rocksfs {
namespace {

struct Process {
  explicit Process(const std::shared_ptr<MemoryServer>& server) {
    volume = std::make_shared<Volume>(std::make_unique<MemoryCluster>(server), VolumeOptions());
    fs = std::make_shared<MoraineFileSystem>(volume, "/store", PolicyNames());
    env = rocksdb::NewCompositeEnv(fs);
  }
  std::shared_ptr<Volume> volume;
  std::shared_ptr<MoraineFileSystem> fs;
  std::unique_ptr<rocksdb::Env> env;
};

class DatabaseTest : public ::testing::Test {
 protected:
  static rocksdb::Options OptionsFor(Process& process) {
    rocksdb::Options options;
    options.env = process.env.get();
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.write_buffer_size = 64 << 10;
    options.target_file_size_base = 64 << 10;
    options.skip_stats_update_on_db_open = true;
    options.skip_checking_sst_file_sizes_on_db_open = true;
    options.max_open_files = 20;
    return options;
  }
  static std::unique_ptr<rocksdb::DB> Open(const rocksdb::Options& options) {
    rocksdb::DB* db = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(options, "/db", &db);
    EXPECT_TRUE(opened.ok()) << opened.ToString();
    return std::unique_ptr<rocksdb::DB>(db);
  }
  static std::string Key(int i) { return "key" + std::to_string(1'000'000 + i); }
  static std::string Value(int i) {
    return std::string(100, static_cast<char>('a' + i % 26)) + Key(i);
  }
  static void Fill(rocksdb::DB& db, int begin, int end, bool sync = false) {
    rocksdb::WriteOptions write;
    write.sync = sync;
    for (int i = begin; i < end; ++i) {
      const rocksdb::Status put = db.Put(write, Key(i), Value(i));
      ASSERT_TRUE(put.ok()) << put.ToString();
    }
  }
  static void ExpectFilled(rocksdb::DB& db, int begin, int end) {
    for (int i = begin; i < end; ++i) {
      std::string value;
      const rocksdb::Status got = db.Get(rocksdb::ReadOptions(), Key(i), &value);
      ASSERT_TRUE(got.ok()) << i << ": " << got.ToString();
      ASSERT_EQ(value, Value(i));
    }
  }

  std::shared_ptr<MemoryServer> server_ = std::make_shared<MemoryServer>();
  Process a_{server_};
};

TEST_F(DatabaseTest, WritesFlushesCompactsReopens) {
  const rocksdb::Options options = OptionsFor(a_);
  for (int round = 0; round < 3; ++round) {
    const auto db = Open(options);
    ASSERT_NE(db, nullptr);
    ExpectFilled(*db, 0, round * 3000);
    Fill(*db, round * 3000, (round + 1) * 3000);
    ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
    Fill(*db, 0, 100, /*sync=*/true);
    ExpectFilled(*db, 0, (round + 1) * 3000);
  }
  ASSERT_TRUE(rocksdb::DestroyDB("/db", options).ok());
  EXPECT_EQ(server_->Find("/store/db").code(), Code::kNotFound);
}

TEST_F(DatabaseTest, OpeningCostsFewMetadataCalls) {
  const rocksdb::Options options = OptionsFor(a_);
  size_t tables = 0;
  {
    const auto db = Open(options);
    Fill(*db, 0, 30'000);
    ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
    std::vector<rocksdb::LiveFileMetaData> files;
    db->GetLiveFilesMetaData(&files);
    tables = files.size();
  }
  ASSERT_GT(tables, 20u);
  const std::map<std::string, int> before = server_->metadata_calls_by_operation();
  const int answers_before = static_cast<int>(a_.volume->memory_answers());
  const auto db = Open(options);
  int opening = 0;
  std::cout << "opening " << tables << " tables:";
  for (const auto& [operation, count] : server_->metadata_calls_by_operation()) {
    const auto known = before.find(operation);
    const int now = count - (known == before.end() ? 0 : known->second);
    opening += now;
    if (now > 0) std::cout << " " << operation << "=" << now;
  }
  std::cout << ", from memory " << a_.volume->memory_answers() - answers_before << "\n";
  RecordProperty("tables", static_cast<int>(tables));
  RecordProperty("metadata_calls", opening);
  EXPECT_LT(opening, 50);
  ExpectFilled(*db, 0, 30'000);
}

TEST_F(DatabaseTest, ASecondProcessTakesOverAndTheFirstIsFenced) {
  auto first = Open(OptionsFor(a_));
  Fill(*first, 0, 500, /*sync=*/true);

  Process b(server_);
  {
    const auto second = Open(OptionsFor(b));
    ASSERT_NE(second, nullptr);
    ExpectFilled(*second, 0, 500);
    Fill(*second, 500, 600, /*sync=*/true);

    rocksdb::WriteOptions write;
    write.sync = true;
    const rocksdb::Status zombie = first->Put(write, "zombie", "bytes");
    EXPECT_TRUE(zombie.IsIOFenced()) << zombie.ToString();
    EXPECT_FALSE(first->Put(write, "zombie2", "bytes").ok());
    std::string value;
    EXPECT_TRUE(second->Get(rocksdb::ReadOptions(), "zombie", &value).IsNotFound());
    ExpectFilled(*second, 0, 600);
  }
  first.reset();  // ends although nothing of it is accepted any more
  const auto third = Open(OptionsFor(b));
  ExpectFilled(*third, 0, 600);
  std::string value;
  EXPECT_TRUE(third->Get(rocksdb::ReadOptions(), "zombie", &value).IsNotFound());
}

TEST_F(DatabaseTest, ResumesByItselfAfterAPassingFailure) {
  rocksdb::Options options = OptionsFor(a_);
  options.bgerror_resume_retry_interval = 10'000;  // microseconds
  const auto db = Open(options);
  Fill(*db, 0, 100, /*sync=*/true);
  server_->Fail("append", Status(Code::kTooFewServers, "two of five are down"));
  rocksdb::WriteOptions write;
  write.sync = true;
  const rocksdb::Status failed = db->Put(write, "k", "v");
  EXPECT_TRUE(failed.IsIOError()) << failed.ToString();
  EXPECT_THAT(failed.ToString(), ::testing::HasSubstr(".log"));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  rocksdb::Status put = db->Put(write, "k", "v2");
  while (!put.ok() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
    put = db->Put(write, "k", "v2");
  }
  ASSERT_TRUE(put.ok()) << put.ToString();
  Fill(*db, 100, 200, /*sync=*/true);
  ExpectFilled(*db, 0, 200);
}

TEST_F(DatabaseTest, CheckpointsShareTheirTables) {
  const auto db = Open(OptionsFor(a_));
  Fill(*db, 0, 3000);
  rocksdb::Checkpoint* made = nullptr;
  ASSERT_TRUE(rocksdb::Checkpoint::Create(db.get(), &made).ok());
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  const rocksdb::Status created = checkpoint->CreateCheckpoint("/copy");
  ASSERT_TRUE(created.ok()) << created.ToString();
  Fill(*db, 3000, 6000);
  ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
  rocksdb::DB* copy = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(OptionsFor(a_), "/copy", &copy);
  ASSERT_TRUE(opened.ok()) << opened.ToString();
  const std::unique_ptr<rocksdb::DB> held(copy);
  ExpectFilled(*copy, 0, 3000);
  std::string value;
  EXPECT_TRUE(copy->Get(rocksdb::ReadOptions(), Key(3001), &value).IsNotFound());
}

TEST_F(DatabaseTest, ScansAndBatchedGetsWithReadsInTheBackground) {
  rocksdb::Options options = OptionsFor(a_);
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  const auto db = Open(options);
  constexpr int kKeys = 5000;
  Fill(*db, 0, kKeys);
  ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
  for (const bool async_io : {false, true}) {
    rocksdb::ReadOptions read;
    read.async_io = async_io;
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(read));
    int seen = 0;
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      ASSERT_EQ(it->key().ToString(), Key(seen));
      ASSERT_EQ(it->value().ToString(), Value(seen));
      ++seen;
    }
    ASSERT_TRUE(it->status().ok()) << it->status().ToString();
    EXPECT_EQ(seen, kKeys);

    std::vector<std::string> keys;
    for (int i = 0; i < kKeys; i += 97) keys.push_back(Key(i));
    std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
    std::vector<rocksdb::PinnableSlice> values(slices.size());
    std::vector<rocksdb::Status> statuses(slices.size());
    db->MultiGet(read, db->DefaultColumnFamily(), slices.size(), slices.data(), values.data(),
                 statuses.data());
    for (size_t i = 0; i < slices.size(); ++i) {
      ASSERT_TRUE(statuses[i].ok()) << statuses[i].ToString();
      EXPECT_EQ(values[i].ToString(), Value(static_cast<int>(i) * 97));
    }
  }
}

TEST_F(DatabaseTest, ReadOnlyAndSecondaryOpensTakeNoToken) {
  const auto db = Open(OptionsFor(a_));
  Fill(*db, 0, 2000, /*sync=*/false);
  ASSERT_TRUE(db->FlushWAL(true).ok());
  // A flush that ends between a reader's look at the MANIFEST and at the logs takes a log away from
  // it; that is RocksDB's own race.
  ASSERT_TRUE(db->PauseBackgroundWork().ok());
  Process b(server_);
  rocksdb::DB* reader = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::OpenForReadOnly(OptionsFor(b), "/db", &reader, /*error_if_wal=*/false);
  ASSERT_TRUE(opened.ok()) << opened.ToString();
  const std::unique_ptr<rocksdb::DB> held(reader);
  ExpectFilled(*reader, 0, 2000);
  ASSERT_TRUE(db->ContinueBackgroundWork().ok());
  Fill(*db, 2000, 2100, /*sync=*/true);  // the owner is still the owner
  EXPECT_EQ(server_->calls("acquire"), 1);
}

TEST_F(DatabaseTest, IngestsTablesThatWereMadeElsewhere) {
  const rocksdb::Options options = OptionsFor(a_);
  const auto db = Open(options);
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
  ASSERT_TRUE(writer.Open("/made.sst").ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(writer.Put(Key(i), Value(i)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  rocksdb::IngestExternalFileOptions ingest;
  ingest.move_files = true;
  const rocksdb::Status ingested = db->IngestExternalFile({"/made.sst"}, ingest);
  ASSERT_TRUE(ingested.ok()) << ingested.ToString();
  ExpectFilled(*db, 0, 100);
}

}  // namespace
}  // namespace moraine::rocksfs
