#include "protocol/lease.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace moraine::protocol {
namespace {

using namespace std::chrono_literals;

constexpr LeaseTerms kTerms{.ttl = 10s, .margin = 1s, .drift_permille = 100};

TEST(LeaseTest, TermsMustLeaveSomething) {
  EXPECT_TRUE(kTerms.IsValid());
  EXPECT_FALSE((LeaseTerms{.ttl = 10s, .margin = 9s, .drift_permille = 100}).IsValid());
  EXPECT_FALSE((LeaseTerms{.ttl = 0s, .margin = 0s, .drift_permille = 0}).IsValid());
  EXPECT_FALSE((LeaseTerms{.ttl = 10s, .margin = -1s, .drift_permille = 0}).IsValid());
  EXPECT_FALSE((LeaseTerms{.ttl = 10s, .margin = 0s, .drift_permille = 1000}).IsValid());
}

TEST(LeaseTest, HolderCountsFromSending) {
  LeaseClock clock(kTerms);
  EXPECT_FALSE(clock.IsCertain(0s));
  clock.OnRenewed(100s);
  EXPECT_TRUE(clock.IsCertain(107s));
  EXPECT_FALSE(clock.IsCertain(108s));  // 100 + 10 - 1 of drift - 1 of margin
  clock.OnRenewed(105s);
  clock.OnRenewed(101s);  // late
  EXPECT_TRUE(clock.IsCertain(112s));
  EXPECT_FALSE(clock.IsCertain(113s));
  clock.OnLost();
  clock.OnRenewed(106s);
  EXPECT_FALSE(clock.IsCertain(106s));
  EXPECT_EQ(clock.certain_until(), Time::zero());
}

// Clocks with any offset and a drift within bounds: whenever the granter has ended the session, the
// holder has stopped.
TEST(LeaseTest, HolderStopsBeforeTheGranterEnds) {
  uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    int64_t slower = 1000 - static_cast<int64_t>(random.Uniform(100));  // holder's clock, permille
    Time offset = std::chrono::seconds(random.Uniform(1000));
    auto holder_time = [&](Time real) { return real * slower / 1000 + offset; };
    Time real = 0s;
    SessionLease granter(kTerms, real);
    LeaseClock holder(kTerms);
    bool ended = false;
    for (int step = 0; step < 50; ++step) {
      Time sent = holder_time(real);
      real += std::chrono::milliseconds(random.Uniform(6000));  // to the granter
      ended = granter.Expire(real);
      bool granted = !ended && granter.Renew(real).ok();
      real += std::chrono::milliseconds(random.Uniform(6000));  // and back
      if (granted && random.OneIn(2)) holder.OnRenewed(sent);
      if (granter.Expire(real)) {
        ASSERT_FALSE(holder.IsCertain(holder_time(real)));
        ASSERT_EQ(granter.Renew(real).code(), Code::kSessionEnded);
        break;
      }
    }
  }
}

TEST(LeaseTest, SessionEndsOnceForAll) {
  SessionLease lease(kTerms, 0s);
  EXPECT_FALSE(lease.Expire(9s));
  EXPECT_TRUE(lease.Renew(12s).ok());  // late, but nobody has ended it
  EXPECT_FALSE(lease.Expire(21s));
  EXPECT_TRUE(lease.Expire(22s));
  EXPECT_EQ(lease.Renew(22s).code(), Code::kSessionEnded);
  SessionLease left(kTerms, 0s);
  left.End();
  EXPECT_TRUE(left.Expire(1s));
}

TEST(LeaseTest, TimeThatTheGranterMissedDoesNotCount) {
  SessionLease lease(kTerms, 0s);
  lease.Extend(50s, 55s);  // five seconds of the ten were heard
  EXPECT_EQ(lease.expires(), 60s);
  lease.Extend(50s, 56s);  // but never more than a full ttl
  EXPECT_EQ(lease.expires(), 66s);
  lease.Extend(1s, 30s);  // and never less than there was
  EXPECT_EQ(lease.expires(), 66s);
  EXPECT_TRUE(lease.Expire(66s));
  lease.Extend(50s, 70s);
  EXPECT_EQ(lease.Renew(70s).code(), Code::kSessionEnded);
}

TEST(FileLeaseTest, OneSessionAtATime) {
  constexpr SessionId kA{1}, kB{2};
  FileLease lease;
  EXPECT_EQ(lease.Check(kA).code(), Code::kSessionEnded);
  EXPECT_TRUE(lease.Acquire(kA).granted);
  EXPECT_TRUE(lease.Acquire(kA).granted);
  FileLease::Answer first = lease.Acquire(kB);
  EXPECT_FALSE(first.granted);
  EXPECT_EQ(first.recall, kA);
  EXPECT_TRUE(lease.Acquire(kB).recall.IsNone());  // recalled once
  EXPECT_TRUE(lease.recalled());
  EXPECT_TRUE(lease.Check(kA).ok());
  EXPECT_EQ(lease.Check(kB).code(), Code::kLeaseTaken);
  lease.Release(kB);  // not its own
  EXPECT_EQ(lease.holder(), kA);
  lease.Release(kA);
  EXPECT_TRUE(lease.Acquire(kB).granted);
  EXPECT_FALSE(lease.recalled());
  EXPECT_EQ(lease.Check(kA).code(), Code::kLeaseTaken);
}

TEST(DirectoryTokenTest, GrowsAtEachAcquireAndRefusesTheOld) {
  constexpr SessionId kA{1}, kB{2};
  DirectoryOwnership never;
  EXPECT_TRUE(CheckDirectoryToken(never, Token()).ok());
  EXPECT_EQ(CheckDirectoryToken(never, Token(1)).code(), Code::kFenced);
  DirectoryOwnership a = AcquireDirectory(never, kA);
  EXPECT_EQ(a.token, Token(1));
  EXPECT_TRUE(CheckDirectoryToken(a, Token(1)).ok());
  EXPECT_EQ(CheckDirectoryToken(a, Token()).code(), Code::kBusy);
  DirectoryOwnership again = AcquireDirectory(a, kA);
  EXPECT_EQ(CheckDirectoryToken(again, Token(1)).code(), Code::kFenced);
  DirectoryOwnership b = AcquireDirectory(again, kB);
  EXPECT_EQ(b.token, Token(3));
  EXPECT_EQ(b.owner, kB);
  EXPECT_EQ(ReleaseDirectory(b, Token(2)).code(), Code::kFenced);
  DirectoryOwnership free = ReleaseDirectory(b, Token(3)).value();
  EXPECT_EQ(CheckDirectoryToken(free, Token(3)).code(), Code::kFenced);
  EXPECT_TRUE(CheckDirectoryToken(free, Token()).ok());
  EXPECT_EQ(ReleaseDirectory(free, Token(3)).code(), Code::kFenced);
  EXPECT_EQ(AcquireDirectory(free, kA).token, Token(4));
}

}  // namespace
}  // namespace moraine::protocol
