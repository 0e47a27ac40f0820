#include "fs/mount/errno_map.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

namespace moraine::fs::mount {
namespace {

// Every code that the wire can bring, with the errno that its name promises to programs.
const std::map<Code, int> kTable = {
    {Code::kOk, 0},
    {Code::kInvalidArgument, EINVAL},
    {Code::kNotFound, ENOENT},
    {Code::kAlreadyExists, EEXIST},
    {Code::kNotDirectory, ENOTDIR},
    {Code::kIsDirectory, EISDIR},
    {Code::kNotEmpty, ENOTEMPTY},
    {Code::kNameTooLong, ENAMETOOLONG},
    {Code::kAccessDenied, EACCES},
    {Code::kNotPermitted, EPERM},
    {Code::kTooLarge, EFBIG},
    {Code::kBusy, EBUSY},
    {Code::kTooManyLinks, EMLINK},
    {Code::kNoAttribute, ENODATA},
    {Code::kOutOfRange, ERANGE},
    {Code::kNotSupported, EOPNOTSUPP},
    {Code::kBadHandle, EBADF},
    {Code::kLoop, EINVAL},
    {Code::kUnavailable, EIO},
    {Code::kTimeout, ETIMEDOUT},
    {Code::kCanceled, EINTR},
    {Code::kOverloaded, EIO},
    {Code::kProtocol, EIO},
    {Code::kWrongCluster, EIO},
    {Code::kWrongVersion, EIO},
    {Code::kWrongRole, EIO},
    {Code::kFenced, ESTALE},
    {Code::kSealed, EIO},
    {Code::kWrongOffset, EIO},
    {Code::kUnknownChunk, EIO},
    {Code::kTooFewServers, EIO},
    {Code::kNotCommitted, EIO},
    {Code::kSessionEnded, ESTALE},
    {Code::kLeaseTaken, EBUSY},
    {Code::kIo, EIO},
    {Code::kCorruption, EIO},
    {Code::kNoSpace, ENOSPC},
    {Code::kQuarantined, EIO},
    {Code::kInternal, EIO},
};

TEST(ErrnoMap, EveryCodeHasItsErrno) {
  for (const auto& [code, expected] : kTable) {
    EXPECT_EQ(ErrnoFor(code), expected) << CodeName(code);
  }
}

TEST(ErrnoMap, TheTableHasEveryCodeOfTheWire) {
  for (uint32_t number = 0; number <= 0xFFFF; ++number) {
    const Code code = CodeFromNumber(static_cast<uint16_t>(number));
    EXPECT_TRUE(kTable.contains(code)) << "code " << number;
  }
}

TEST(ErrnoMap, OnlyOkIsSuccessAndEnosysIsNeverSaid) {
  // ENOSYS would switch the operation off for the rest of the mount's life.
  for (const auto& [code, expected] : kTable) {
    EXPECT_EQ(ErrnoFor(code) == 0, code == Code::kOk) << CodeName(code);
    EXPECT_NE(ErrnoFor(code), ENOSYS) << CodeName(code);
  }
}

TEST(ErrnoMap, AStaleNameIsLookedUpAgain) {
  EXPECT_EQ(ErrnoForOpen(Code::kNotFound), ESTALE);
  EXPECT_EQ(ErrnoForOpen(Code::kTimeout), ETIMEDOUT);
  EXPECT_EQ(ErrnoForOpen(Code::kOk), 0);
  EXPECT_EQ(ErrnoForCreate(Code::kAlreadyExists, false), ESTALE);
  EXPECT_EQ(ErrnoForCreate(Code::kAlreadyExists, true), EEXIST);
  EXPECT_EQ(ErrnoForCreate(Code::kNotFound, false), ENOENT);
}

}  // namespace
}  // namespace moraine::fs::mount
