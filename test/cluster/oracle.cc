// A RocksDB program that knows what its database must hold: it writes numbered keys whose values
// follow from the number, notes every acknowledgement in a local file, and later checks each one.
//
//   oracle write  URI DB ACKED --keys N --sync-every K [--seed S] [--until-failure]
//   oracle verify URI DB ACKED [--seed S]
//   oracle verify_subset URI DB ACKED [--seed S]     (others write into the database too)
//   oracle open   URI DB --key I [--seed S]
//
// The note is written after the acknowledgement, so it never claims too much. Verify demands: every
// key up to the last synced one is there with its value; later ones are there whole or not at all;
// none is there that was never begun. Write also says when a compaction begins and how it ends, one
// line each. With URI "-" the local file system is used.
#include <fcntl.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Arguments {
  std::string verb, uri, db, acked;
  uint64_t keys = 0;
  uint64_t sync_every = 1;
  uint64_t seed = 1;
  uint64_t key = 0;
  uint64_t start = 0;
  bool until_failure = false;
};

uint64_t Mix(uint64_t x) {  // SplitMix64's finalizer
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

std::string Key(uint64_t seed, uint64_t i) {
  char key[40];
  std::snprintf(key, sizeof key, "%016lx-%012lu", Mix(seed * 1000003 + i), i);
  return key;
}

std::string Value(uint64_t seed, uint64_t i) {
  const size_t size = 100 + Mix(seed ^ (i * 7 + 3)) % 900;
  std::string value(size, '\0');
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t word = Mix(seed + i * 131 + at);
    std::memcpy(value.data() + at, &word, std::min<size_t>(8, size - at));
  }
  return value;
}

[[noreturn]] void Die(const std::string& words) {
  std::fprintf(stderr, "oracle: %s\n", words.c_str());
  std::exit(1);
}

class CompactionTeller : public rocksdb::EventListener {
 public:
  void OnCompactionBegin(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    Say("compaction begins");
  }
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& job) override {
    Say("compaction ends: " + job.status.ToString());
  }

 private:
  static void Say(const std::string& words) {
    std::printf("%s\n", words.c_str());
    std::fflush(stdout);
  }
};

struct Database {
  rocksdb::Env* env = rocksdb::Env::Default();
  std::shared_ptr<rocksdb::Env> guard;
  std::unique_ptr<rocksdb::DB> db;
};

Database Open(const Arguments& arguments, bool create) {
  Database database;
  if (arguments.uri != "-") {
    const rocksdb::Status status = rocksdb::Env::CreateFromUri(
        rocksdb::ConfigOptions(), "", arguments.uri, &database.env, &database.guard);
    if (!status.ok()) Die("file system " + arguments.uri + ": " + status.ToString());
  }
  rocksdb::Options options;
  options.env = database.env;
  options.create_if_missing = create;
  options.write_buffer_size = 8 << 20;
  options.target_file_size_base = 4 << 20;  // many tables: opening them is what is measured
  options.compression = rocksdb::kNoCompression;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.max_open_files = 64;
  if (arguments.verb == "write") {
    options.listeners.push_back(std::make_shared<CompactionTeller>());
  }
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, arguments.db, &raw);
  if (!status.ok()) Die("open " + arguments.db + ": " + status.ToString());
  database.db.reset(raw);
  return database;
}

// A compaction that has met the same trouble tells how it ends; bounded, as everything.
void AwaitCompactions(rocksdb::DB& db) {
  for (int i = 0; i < 3000; ++i) {
    uint64_t running = 0;
    if (!db.GetIntProperty(rocksdb::DB::Properties::kNumRunningCompactions, &running)) return;
    if (running == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

int Write(const Arguments& arguments) {
  const int acked = open(arguments.acked.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (acked < 0) Die("cannot write " + arguments.acked);
  Database database = Open(arguments, true);
  std::printf("writing\n");
  std::fflush(stdout);
  for (uint64_t i = arguments.start; i < arguments.start + arguments.keys; ++i) {
    rocksdb::WriteOptions options;
    options.sync = arguments.sync_every > 0 && i % arguments.sync_every == 0;
    const rocksdb::Status status =
        database.db->Put(options, Key(arguments.seed, i), Value(arguments.seed, i));
    if (!status.ok()) {
      std::printf("write %lu failed: %s fenced=%d\n", i, status.ToString().c_str(),
                  status.subcode() == rocksdb::Status::kIOFenced);
      std::fflush(stdout);
      if (arguments.until_failure) {
        AwaitCompactions(*database.db);
        _exit(3);
      }
      Die("write " + std::to_string(i) + ": " + status.ToString());
    }
    const uint64_t note[2] = {i, options.sync ? 1u : 0u};
    if (write(acked, note, sizeof note) != sizeof note) Die("cannot write " + arguments.acked);
  }
  const rocksdb::Status closed = database.db->Close();
  if (!closed.ok()) Die("close: " + closed.ToString());
  std::printf("wrote %lu keys\n", arguments.keys);
  return 0;
}

int Verify(const Arguments& arguments) {
  std::ifstream file(arguments.acked, std::ios::binary);
  uint64_t note[2];
  uint64_t last = 0;
  uint64_t last_synced = 0;
  bool any = false;
  bool any_synced = false;
  while (file.read(reinterpret_cast<char*>(note), sizeof note)) {
    any = true;
    last = note[0];
    if (note[1] != 0) {
      last_synced = note[0];
      any_synced = true;
    }
  }
  if (!any) Die("nothing was acknowledged: nothing to verify");
  Database database = Open(arguments, false);
  uint64_t present = 0;
  uint64_t missing = 0;
  // One write may have been under way when the writer ended.
  for (uint64_t i = arguments.start; i <= last + 1; ++i) {
    std::string value;
    const rocksdb::Status status =
        database.db->Get(rocksdb::ReadOptions(), Key(arguments.seed, i), &value);
    if (status.ok()) {
      if (value != Value(arguments.seed, i)) Die("key " + std::to_string(i) + " has another value");
      ++present;
    } else if (status.IsNotFound()) {
      if (any_synced && i <= last_synced) {
        Die("key " + std::to_string(i) + " is lost; synced up to " + std::to_string(last_synced));
      }
      ++missing;
    } else {
      Die("get " + std::to_string(i) + ": " + status.ToString());
    }
  }
  uint64_t counted = 0;
  std::unique_ptr<rocksdb::Iterator> it(database.db->NewIterator(rocksdb::ReadOptions()));
  for (it->SeekToFirst(); it->Valid(); it->Next()) ++counted;
  if (!it->status().ok()) Die("scan: " + it->status().ToString());
  if (arguments.verb == "verify" && counted != present)
    Die(std::to_string(counted) + " keys scanned, " + std::to_string(present) + " known");
  std::printf(
      "verified %lu keys (%lu after the last sync absent), acknowledged %lu, synced up to %lu\n",
      present, missing, last + 1, last_synced);
  return 0;
}

int OpenAndRead(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  Database database = Open(arguments, false);
  const auto opened = std::chrono::steady_clock::now();
  std::string value;
  const rocksdb::Status status =
      database.db->Get(rocksdb::ReadOptions(), Key(arguments.seed, arguments.key), &value);
  const auto read = std::chrono::steady_clock::now();
  if (!status.ok()) Die("first read: " + status.ToString());
  if (value != Value(arguments.seed, arguments.key)) Die("first read: another value");
  using Ms = std::chrono::duration<double, std::milli>;
  std::vector<rocksdb::LiveFileMetaData> files;
  database.db->GetLiveFilesMetaData(&files);
  std::printf("open_ms=%.2f first_read_ms=%.2f ssts=%zu\n", Ms(opened - begin).count(),
              Ms(read - opened).count(), files.size());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> plain;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (word == "--keys")
      arguments.keys = number();
    else if (word == "--sync-every")
      arguments.sync_every = number();
    else if (word == "--seed")
      arguments.seed = number();
    else if (word == "--key")
      arguments.key = number();
    else if (word == "--start")
      arguments.start = number();
    else if (word == "--until-failure")
      arguments.until_failure = true;
    else
      plain.push_back(word);
  }
  const bool open = !plain.empty() && plain[0] == "open";
  if (plain.size() != (open ? 3u : 4u))
    Die("usage: oracle write|verify URI DB ACKED, or oracle open URI DB");
  arguments.verb = plain[0];
  arguments.uri = plain[1];
  arguments.db = plain[2];
  if (!open) arguments.acked = plain[3];
  if (arguments.verb == "write") return Write(arguments);
  if (arguments.verb == "verify" || arguments.verb == "verify_subset") return Verify(arguments);
  if (arguments.verb == "open") return OpenAndRead(arguments);
  Die("unknown verb " + arguments.verb);
}
