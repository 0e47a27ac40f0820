#include "metaserver/store/transaction.h"

#include <fmt/format.h>
#include <rocksdb/comparator.h>
#include <rocksdb/db.h>
#include <rocksdb/utilities/write_batch_with_index.h>

#include "metaserver/store/store.h"

namespace moraine::metaserver {
namespace {

rocksdb::Slice ToSlice(std::string_view text) { return rocksdb::Slice(text.data(), text.size()); }

Status Translate(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return Status::Ok();
  return FromRocksdb(static_cast<int>(status.code()), status.ToString(), what);
}

}  // namespace

// RocksDB looks at them for as long as the iterator lives. Without them a walk that comes to the
// end of its prefix goes on over everything that was ever deleted next to it.
struct Cursor::Bounds {
  explicit Bounds(std::string_view first) : prefix(first), end(first) {
    while (!end.empty() && end.back() == '\xff') end.pop_back();
    if (!end.empty()) ++end.back();
    lower = prefix;
    upper = end;
  }
  rocksdb::ReadOptions Options() const {
    rocksdb::ReadOptions options;
    if (!prefix.empty()) options.iterate_lower_bound = &lower;
    if (!end.empty()) options.iterate_upper_bound = &upper;
    return options;
  }
  const std::string prefix;
  std::string end;  // the first key behind the prefix; empty: there is none
  rocksdb::Slice lower;
  rocksdb::Slice upper;
};

Cursor::Cursor(std::unique_ptr<Bounds> bounds) : bounds_(std::move(bounds)) {}
Cursor::Cursor(Cursor&&) noexcept = default;
Cursor::~Cursor() = default;

bool Cursor::Valid() const {
  return iterator_->Valid() && iterator_->key().starts_with(bounds_->prefix);
}
void Cursor::Next() { iterator_->Next(); }
void Cursor::Previous() { iterator_->Prev(); }
std::string_view Cursor::key() const { return {iterator_->key().data(), iterator_->key().size()}; }
std::string_view Cursor::value() const {
  return {iterator_->value().data(), iterator_->value().size()};
}
Status Cursor::status() const { return Translate(iterator_->status(), "scan"); }

Transaction::Transaction(Store& store, SessionId session, int64_t now_ns)
    : store_(store), session_(session), now_ns_(now_ns) {}
Transaction::~Transaction() = default;

rocksdb::WriteBatchWithIndex& Transaction::writable() {
  if (batch_ == nullptr) {
    batch_ = std::make_unique<rocksdb::WriteBatchWithIndex>(rocksdb::BytewiseComparator(), 0, true);
  }
  return *batch_;
}

rocksdb::WriteBatch* Transaction::batch() { return writable().GetWriteBatch(); }

Result<std::optional<std::string>> Transaction::Get(Family family, std::string_view key) {
  std::string value;
  rocksdb::Status status;
  if (batch_ != nullptr) {
    status = batch_->GetFromBatchAndDB(&store_.db(), rocksdb::ReadOptions(), store_.handle(family),
                                       ToSlice(key), &value);
  } else {
    status = store_.db().Get(rocksdb::ReadOptions(), store_.handle(family), ToSlice(key), &value);
  }
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return Translate(status, "read");
  return std::optional<std::string>(std::move(value));
}

void Transaction::Put(Family family, std::string_view key, std::string_view value) {
  const rocksdb::Status status =
      writable().Put(store_.handle(family), ToSlice(key), ToSlice(value));
  MORAINE_CHECK(status.ok(), "a batch in memory takes every put");
}

void Transaction::Delete(Family family, std::string_view key) {
  const rocksdb::Status status = writable().Delete(store_.handle(family), ToSlice(key));
  MORAINE_CHECK(status.ok(), "a batch in memory takes every delete");
}

Cursor Transaction::NewCursor(Family family, std::string_view prefix) {
  rocksdb::ColumnFamilyHandle* handle = store_.handle(family);
  Cursor cursor(std::make_unique<Cursor::Bounds>(prefix));
  rocksdb::Iterator* base = store_.db().NewIterator(cursor.bounds_->Options(), handle);
  cursor.iterator_.reset(batch_ == nullptr ? base : batch_->NewIteratorWithBase(handle, base));
  return cursor;
}

Cursor Transaction::Scan(Family family, std::string_view prefix, std::string_view from) {
  Cursor cursor = NewCursor(family, prefix);
  cursor.iterator_->Seek(std::string(prefix).append(from));
  return cursor;
}

Cursor Transaction::ScanBack(Family family, std::string_view prefix, std::string_view from) {
  Cursor cursor = NewCursor(family, prefix);
  cursor.iterator_->SeekForPrev(std::string(prefix).append(from));
  return cursor;
}

Result<InodeRecord> Transaction::Inode(InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(auto record, Find<InodeRecord>(Family::kInodes, InodeKey(inode)));
  if (!record.has_value()) {
    return Status(Code::kNotFound, fmt::format("no inode {}", inode.value()));
  }
  return std::move(*record);
}

void Transaction::PutInode(InodeId inode, const InodeRecord& record) {
  Put(Family::kInodes, InodeKey(inode), record.Encode());
}

}  // namespace moraine::metaserver
