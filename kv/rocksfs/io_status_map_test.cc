#include "kv/rocksfs/io_status_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace moraine::rocksfs {
namespace {

using rocksdb::IOStatus;
using RocksCode = rocksdb::Status::Code;
using SubCode = rocksdb::Status::SubCode;
using ::testing::HasSubstr;

struct Row {
  Code code;
  RocksCode expected;
  SubCode subcode = SubCode::kNone;
  bool retryable = false;
  bool data_loss = false;
  RocksCode expected_when_asked = expected;
  SubCode subcode_when_asked = subcode;
};

constexpr auto kIo = RocksCode::kIOError;

const Row kRows[] = {
    {Code::kInvalidArgument, RocksCode::kInvalidArgument},
    {Code::kNotFound, kIo, SubCode::kPathNotFound, false, false, RocksCode::kNotFound,
     SubCode::kNone},
    {Code::kAlreadyExists, kIo},
    {Code::kNotDirectory, kIo, SubCode::kNone, false, false, RocksCode::kNotFound},
    {Code::kIsDirectory, kIo},
    {Code::kNotEmpty, kIo},
    {Code::kNameTooLong, kIo, SubCode::kNone, false, false, RocksCode::kNotFound},
    {Code::kAccessDenied, kIo, SubCode::kNone, false, false, RocksCode::kNotFound},
    {Code::kNotPermitted, kIo},
    {Code::kTooLarge, kIo},
    {Code::kBusy, kIo, SubCode::kNone, true},
    {Code::kTooManyLinks, kIo},
    {Code::kNoAttribute, kIo},
    {Code::kOutOfRange, kIo},
    {Code::kNotSupported, RocksCode::kNotSupported},
    {Code::kBadHandle, kIo},
    {Code::kLoop, kIo, SubCode::kNone, false, false, RocksCode::kNotFound},
    {Code::kUnavailable, kIo, SubCode::kNone, true},
    {Code::kTimeout, kIo, SubCode::kNone, true},
    {Code::kCanceled, RocksCode::kAborted},
    {Code::kOverloaded, kIo, SubCode::kNone, true},
    {Code::kProtocol, kIo},
    {Code::kWrongCluster, kIo},
    {Code::kWrongVersion, kIo},
    {Code::kWrongRole, kIo},
    {Code::kFenced, kIo, SubCode::kIOFenced},
    {Code::kSealed, kIo, SubCode::kNone, true},
    {Code::kWrongOffset, kIo, SubCode::kNone, true},
    {Code::kUnknownChunk, kIo, SubCode::kNone, true},
    {Code::kTooFewServers, kIo, SubCode::kNone, true},
    {Code::kNotCommitted, kIo, SubCode::kNone, true},
    {Code::kSessionEnded, kIo, SubCode::kIOFenced},
    {Code::kLeaseTaken, kIo, SubCode::kNone, true},
    {Code::kIo, kIo},
    {Code::kCorruption, RocksCode::kCorruption, SubCode::kNone, false, true},
    {Code::kNoSpace, kIo, SubCode::kNoSpace},
    {Code::kQuarantined, kIo, SubCode::kNone, true},
    {Code::kInternal, kIo},
};

TEST(ToIoStatus, MapsEveryCode) {
  for (const Row& row : kRows) {
    const Status status(row.code, "what happened");
    SCOPED_TRACE(status.ToString());
    const IOStatus mapped = ToIoStatus(status, "/db/000012.sst");
    EXPECT_EQ(mapped.code(), row.expected);
    EXPECT_EQ(mapped.subcode(), row.subcode);
    EXPECT_EQ(mapped.GetRetryable(), row.retryable);
    EXPECT_EQ(mapped.GetDataLoss(), row.data_loss);
    EXPECT_THAT(mapped.ToString(), HasSubstr("/db/000012.sst"));
    EXPECT_THAT(mapped.ToString(), HasSubstr("what happened"));
    const IOStatus asked = ToIoStatus(status, "/db", Missing::kAsNotFound);
    EXPECT_EQ(asked.code(), row.expected_when_asked);
    EXPECT_EQ(asked.subcode(), row.subcode_when_asked);
  }
}

TEST(ToIoStatus, KnowsEveryCodeThatHasAName) {
  std::set<Code> in_table = {Code::kOk};
  for (const Row& row : kRows) in_table.insert(row.code);
  for (int number = 0; number < 1000; ++number) {
    const Code code = CodeFromNumber(static_cast<uint16_t>(number));
    EXPECT_TRUE(in_table.contains(code)) << CodeName(code) << " is not in the table";
  }
}

TEST(ToIoStatus, AnswersWhatRocksDbAsks) {
  EXPECT_TRUE(ToIoStatus(Status::Ok(), "/x").ok());
  EXPECT_TRUE(ToIoStatus(Status(Code::kNotFound, ""), "/x").IsPathNotFound());
  EXPECT_TRUE(ToIoStatus(Status(Code::kNotFound, ""), "/x", Missing::kAsNotFound).IsNotFound());
  EXPECT_TRUE(ToIoStatus(Status(Code::kFenced, ""), "/x").IsIOFenced());
  EXPECT_TRUE(ToIoStatus(Status(Code::kNoSpace, ""), "/x").IsNoSpace());
  EXPECT_EQ(ToIoStatus(Status(Code::kCorruption, ""), "/x").GetScope(),
            IOStatus::kIOErrorScopeFile);
}

}  // namespace
}  // namespace moraine::rocksfs
