#include "metaserver/store/store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <vector>

#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/mutex.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {
namespace {

constexpr uint64_t kIdBlock = 1 << 20;
constexpr int kOpenFilesMax = 1024;
constexpr int kBackgroundJobs = 2;
constexpr int kBloomBitsPerKey = 10;
constexpr uint64_t kWalBytesMax = 512ULL << 20;

Status Translate(const rocksdb::Status& status, std::string_view what) {
  return FromRocksdb(static_cast<int>(status.code()), status.ToString(), what);
}

// RocksDB's own warnings go into our log instead of a file of theirs. While the database is being
// opened they wait: if that fails, the error says it all, in one line.
class ForwardingLogger : public rocksdb::Logger {
 public:
  ForwardingLogger() : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    MutexLock lock(mutex_);
    if (opened_) {
      LogWarning("rocksdb: {}", text);
    } else if (waiting_.size() < kWaitingMax) {
      waiting_.emplace_back(text);
    }
  }
  void Opened() {
    MutexLock lock(mutex_);
    opened_ = true;
    for (const std::string& text : waiting_) LogWarning("rocksdb: {}", text);
    waiting_.clear();
  }

 private:
  static constexpr size_t kWaitingMax = 100;
  Mutex mutex_;
  bool opened_ MORAINE_GUARDED_BY(mutex_) = false;
  std::vector<std::string> waiting_ MORAINE_GUARDED_BY(mutex_);
};

rocksdb::Options DatabaseOptions(const StoreOptions& ours,
                                 std::shared_ptr<ForwardingLogger> logger) {
  rocksdb::Options options;
  if (ours.env != nullptr) options.env = ours.env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.info_log = std::move(logger);
  options.max_open_files = kOpenFilesMax;
  options.max_background_jobs = kBackgroundJobs;
  options.db_write_buffer_size = ours.write_buffer_bytes;
  options.max_total_wal_size = kWalBytesMax;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // track_and_verify_wals_in_manifest stays off: with SyncWAL, RocksDB before 7.10 may then miss a
  // log that it has deleted itself, and open no more.
  options.compression = rocksdb::kNoCompression;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(ours.block_cache_bytes);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::string RandomClusterId(Random& random) {
  return fmt::format("{:016x}{:016x}", random.Next(), random.Next());
}

}  // namespace

Status FromRocksdb(int code, const std::string& text, std::string_view what) {
  const std::string message = fmt::format("{}: {}", what, text);
  switch (static_cast<rocksdb::Status::Code>(code)) {
    case rocksdb::Status::kOk:
      return Status::Ok();
    case rocksdb::Status::kNotFound:
      return Status(Code::kNotFound, message);
    case rocksdb::Status::kCorruption:
      return Status(Code::kCorruption, message);
    case rocksdb::Status::kInvalidArgument:
      return Status(Code::kInvalidArgument, message);
    case rocksdb::Status::kBusy:
    case rocksdb::Status::kTryAgain:
      return Status(Code::kBusy, message);
    default:
      return Status(Code::kIo, message);
  }
}

struct Store::LazyTimer : Timer {
  explicit LazyTimer(Store& store) : store(store) {}
  void Fire() override {
    if (!store.syncing_ && store.synced_ < store.written_) store.StartSync();
  }
  Store& store;
};

Store::Store(Loop& loop, StoreOptions options)
    : loop_(loop),
      options_(std::move(options)),
      syncs_((options_.metrics != nullptr ? *options_.metrics : ProcessMetrics())
                 .GetCounter("moraine_meta_wal_syncs_total", "Syncs of the write-ahead log.")),
      sync_time_((options_.metrics != nullptr ? *options_.metrics : ProcessMetrics())
                     .GetHistogram("moraine_meta_wal_sync_seconds",
                                   "How long a sync of the write-ahead log takes.")),
      sync_batch_((options_.metrics != nullptr ? *options_.metrics : ProcessMetrics())
                      .GetHistogram("moraine_meta_wal_sync_commits",
                                    "Commits made durable by one sync.", {},
                                    Histogram::Unit::kCount)),
      sync_ended_(loop),
      background_(loop),
      lazy_timer_(std::make_unique<LazyTimer>(*this)) {}

Store::~Store() {
  lazy_timer_.reset();
  if (db_ == nullptr) return;
  rocksdb::CancelAllBackgroundWork(db_.get(), true);
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  }
}

Result<std::unique_ptr<Store>> Store::Open(Loop& loop, StoreOptions options) {
  std::unique_ptr<Store> store(new Store(loop, std::move(options)));
  MORAINE_RETURN_IF_ERROR(store->OpenDatabase());
  MORAINE_RETURN_IF_ERROR(store->LoadSystem());
  MORAINE_RETURN_IF_ERROR(store->Reserve());
  return store;
}

// RocksDB makes a new database wherever it finds no CURRENT, so what lies there is looked at first.
Status Store::CheckDirectory() const {
  const std::string& directory = options_.directory;
  rocksdb::Env* env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  std::vector<std::string> children;
  const rocksdb::Status listed = env->GetChildren(directory, &children);
  if (!listed.ok() && env->FileExists(directory).ok()) {
    return Status(Code::kNotDirectory, directory + " is not a directory that can be read");
  }
  std::erase_if(children, [](const std::string& name) { return name == "." || name == ".."; });
  const auto has = [&](std::string_view name) { return std::ranges::count(children, name) > 0; };
  if (has("CURRENT")) return Status::Ok();
  if (has("superblock")) {
    return Status(Code::kInvalidArgument,
                  directory + " is a chunkserver's directory; give the metaserver one of its own");
  }
  const auto left_by_first_start = [](const std::string& name) {
    return name == "LOCK" || name == "MANIFEST-000001" || name.ends_with(".dbtmp");
  };
  const auto foreign = std::ranges::find_if_not(children, left_by_first_start);
  if (foreign == children.end()) {
    if (!options_.must_exist) return Status::Ok();
    return Status(
        Code::kNotFound,
        fmt::format("{} has no state yet; without a cluster id it would be made", directory));
  }
  if (has("IDENTITY") || std::ranges::any_of(children, [](const std::string& name) {
        return name.starts_with("MANIFEST-") || name.ends_with(".sst");
      })) {
    return Status(
        Code::kCorruption,
        fmt::format("{} has lost its file CURRENT; restore a copy of the directory", directory));
  }
  return Status(Code::kInvalidArgument,
                fmt::format("{} is not a metaserver's directory: it is not empty, it has '{}'",
                            directory, *foreign));
}

Status Store::OpenDatabase() {
  const std::string& directory = options_.directory;
  rocksdb::Env* env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  MORAINE_RETURN_IF_ERROR(CheckDirectory());
  const rocksdb::Status made = env->CreateDirIfMissing(directory);
  if (!made.ok()) {
    return Translate(made, fmt::format("cannot make {} (its parent must be there)", directory));
  }
  const auto logger = std::make_shared<ForwardingLogger>();
  const rocksdb::Options options = DatabaseOptions(options_, logger);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string_view name : kFamilyNames) {
    families.emplace_back(std::string(name), rocksdb::ColumnFamilyOptions(options));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory, families, &handles, &db);
  if (!status.ok()) {
    const std::string text = status.ToString();
    if (text.find("lock") != std::string::npos) {
      return Status(Code::kBusy, fmt::format("{} is in use by another process", directory));
    }
    if (text.find("olumn famil") != std::string::npos) {
      return Status(Code::kWrongVersion,
                    fmt::format("{} was written by a newer Moraine or by another program ({})",
                                directory, text));
    }
    const Status failed = Translate(status, fmt::format("cannot open {}", directory));
    return {failed.code(), failed.message() + "; if a file is lost, restore a copy"};
  }
  db_.reset(db);
  logger->Opened();
  std::ranges::copy(handles, handles_.begin());
  return Status::Ok();
}

Status Store::LoadSystem() {
  Transaction transaction(*this);
  MORAINE_ASSIGN_OR_RETURN(const auto format, transaction.Get(Family::kSystem, kFormatKey));
  if (!format.has_value()) return MakeNew();
  Reader reader(*format);
  const uint64_t version = reader.Varint();
  MORAINE_RETURN_IF_ERROR(reader.Finish("format version"));
  if (version != kFormatVersion) {
    return Status(Code::kWrongVersion, fmt::format("{} has format {}, this program knows {}",
                                                   options_.directory, version, kFormatVersion));
  }
  MORAINE_ASSIGN_OR_RETURN(const auto cluster, transaction.Get(Family::kSystem, kClusterKey));
  if (!cluster.has_value()) {
    return Status(Code::kCorruption, options_.directory + " has no cluster id");
  }
  cluster_ = *cluster;
  MORAINE_ASSIGN_OR_RETURN(const auto ids,
                           transaction.Find<ReservedIds>(Family::kSystem, kReservedIdsKey));
  if (!ids.has_value()) {
    return Status(Code::kCorruption, options_.directory + " has no record of the ids in use");
  }
  inodes_ = {ids->inode, ids->inode};
  chunks_ = {ids->chunk, ids->chunk};
  sessions_ = {ids->session, ids->session};
  servers_ = {ids->server, ids->server};
  MORAINE_ASSIGN_OR_RETURN(const auto counters,
                           transaction.Find<Counters>(Family::kSystem, kCountersKey));
  if (counters.has_value()) counters_ = *counters;
  return Status::Ok();
}

Status Store::MakeNew() {
  cluster_ = RandomClusterId(loop_.random());
  inodes_ = {kRootInode.value() + 1, kRootInode.value() + 1};
  chunks_ = sessions_ = servers_ = {1, 1};
  InodeRecord root;
  root.type = FileType::kDirectory;
  root.mode = 0755;
  root.links = 2;
  root.parent = kRootInode;
  root.version = 1;
  root.atime_ns = root.mtime_ns = root.ctime_ns = loop_.WallNanoseconds();
  counters_.inodes = 1;
  std::string format;
  moraine::Writer(&format).Varint(kFormatVersion);
  rocksdb::WriteBatch batch;
  const auto put = [&](Family family, std::string_view key, const std::string& value) {
    batch.Put(handle(family), rocksdb::Slice(key.data(), key.size()), value);
  };
  put(Family::kSystem, kFormatKey, format);
  put(Family::kSystem, kClusterKey, cluster_);
  put(Family::kSystem, kCountersKey, counters_.Encode());
  put(Family::kSystem, kReservedIdsKey, ReservedIds{inodes_.end, 1, 1, 1}.Encode());
  put(Family::kInodes, InodeKey(kRootInode), root.Encode());
  rocksdb::WriteOptions options;
  options.sync = true;
  MORAINE_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("meta_store.make"));
  const Status made = Translate(db_->Write(options, &batch), "make a new metaserver directory");
  MORAINE_FAULT_POINT("meta_store.made");
  return made;
}

Status Store::Reserve() {
  ReservedIds ids;
  for (auto [block, field] :
       {std::pair{&inodes_, &ids.inode}, std::pair{&chunks_, &ids.chunk},
        std::pair{&sessions_, &ids.session}, std::pair{&servers_, &ids.server}}) {
    // A block with numbers left keeps them; only what is used up is renewed.
    if (block->next == block->end) block->end += kIdBlock;
    *field = block->end;
  }
  return WriteSynced(kReservedIdsKey, ids.Encode());
}

Status Store::WriteSynced(std::string_view key, const std::string& value) {
  rocksdb::WriteOptions options;
  options.sync = true;
  Status status = MORAINE_FAULT_STATUS("meta_store.write_ids");
  if (status.ok()) {
    status = Translate(
        db_->Put(options, handle(Family::kSystem), rocksdb::Slice(key.data(), key.size()), value),
        "write a system record");
  }
  if (!status.ok()) Break(status);
  MORAINE_FAULT_POINT("meta_store.wrote_ids");
  return status;
}

Result<uint64_t> Store::NextId(Block Store::* block) {
  if ((this->*block).next == (this->*block).end) MORAINE_RETURN_IF_ERROR(Reserve());
  return (this->*block).next++;
}

Result<InodeId> Store::NewInode() {
  MORAINE_ASSIGN_OR_RETURN(const uint64_t id, NextId(&Store::inodes_));
  return InodeId(id);
}
Result<ChunkId> Store::NewChunk() {
  MORAINE_ASSIGN_OR_RETURN(const uint64_t id, NextId(&Store::chunks_));
  return ChunkId(id);
}
Result<SessionId> Store::NewSession() {
  MORAINE_ASSIGN_OR_RETURN(const uint64_t id, NextId(&Store::sessions_));
  return SessionId(id);
}
Result<ServerId> Store::NewServer() {
  MORAINE_ASSIGN_OR_RETURN(const uint64_t id, NextId(&Store::servers_));
  return ServerId(id);
}

Result<Ticket> Store::Commit(Transaction& transaction) {
  if (!health_.ok()) return health_;
  MORAINE_CHECK(!stopping_ || transaction.empty(), "a commit after Stop");
  if (transaction.empty()) return written_;
  Counters counters = counters_;
  if (!transaction.counters().IsZero()) {
    counters += transaction.counters();
    transaction.Put(Family::kSystem, kCountersKey, counters.Encode());
  }
  Status status = MORAINE_FAULT_STATUS("meta_store.commit");
  if (status.ok()) {
    status = Translate(db_->Write(rocksdb::WriteOptions(), transaction.batch()), "commit");
  }
  MORAINE_FAULT_POINT("meta_store.committed");
  if (!status.ok()) {
    Break(status);
    return status;
  }
  counters_ = counters;
  ++written_;
  if (!syncing_ && !lazy_timer_->armed()) {
    loop_.timers().Arm(*lazy_timer_, loop_.After(options_.lazy_sync));
  }
  return written_;
}

Task<Status> Store::Synced(Ticket ticket) {
  MORAINE_CHECK(ticket <= written_, "a ticket that was never given out");
  while (synced_ < ticket) {
    if (!health_.ok()) co_return health_;
    if (!syncing_) StartSync();
    co_await sync_ended_.Wait();
  }
  co_return Status::Ok();
}

void Store::StartSync() {
  if (!health_.ok()) return;
  syncing_ = background_.Spawn(SyncOnce());
}

Task<void> Store::SyncOnce() {
  const Ticket target = written_;
  const Instant begun = loop_.Now();
  Status result;
  co_await loop_.RunBlocking([&result, db = db_.get()] {
    result = MORAINE_FAULT_STATUS("meta_store.sync");
    if (result.ok()) result = Translate(db->SyncWAL(), "sync the write-ahead log");
    MORAINE_FAULT_POINT("meta_store.synced");
  });
  syncing_ = false;
  if (result.ok()) {
    syncs_.Add();
    sync_time_.RecordTime(loop_.Now() - begun);
    sync_batch_.Record(target - synced_);
    synced_ = target;
    if (synced_ < written_ && !lazy_timer_->armed()) {
      loop_.timers().Arm(*lazy_timer_, loop_.After(options_.lazy_sync));
    }
  } else {
    Break(std::move(result));
  }
  sync_ended_.NotifyAll();
}

void Store::Break(Status status) {
  if (!health_.ok()) return;
  LogError("the store takes no more: {}", status.ToString());
  health_ = std::move(status);
  sync_ended_.NotifyAll();
}

Task<void> Store::Stop() {
  (co_await Synced(written_)).Ignore();
  stopping_ = true;
  lazy_timer_->Cancel();
  background_.Close();
  co_await background_.Drain();
}

}  // namespace moraine::metaserver
