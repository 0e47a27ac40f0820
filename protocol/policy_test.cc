#include "protocol/policy.h"

#include <gtest/gtest.h>

#include "protocol/replica_set.h"

namespace moraine::protocol {
namespace {

TEST(PolicyTest, EveryRecoverySetMeetsEveryWriteSet) {
  for (int n = 1; n <= limits::kReplicasMax; ++n) {
    for (int w = 1; w <= n; ++w) {
      for (int made = 1; made <= n; ++made) {
        Result<MadePolicy> policy = Policy{.n = n, .w = w, .floor = 1}.ForMade(made);
        ASSERT_TRUE(policy.ok());
        ASSERT_TRUE(policy->IsValid());
        for (uint16_t a = 0; a < 1u << made; ++a) {
          if (ReplicaSet::FromMask(a).Count() != policy->f()) continue;
          for (uint16_t b = 0; b < 1u << made; ++b) {
            if (ReplicaSet::FromMask(b).Count() != policy->w) continue;
            ASSERT_TRUE(ReplicaSet::FromMask(a).Meets(ReplicaSet::FromMask(b)))
                << "n " << n << " w " << w << " made " << made << " sets " << a << " " << b;
          }
        }
      }
    }
  }
}

TEST(PolicyTest, NumbersOfTheNamedPolicies) {
  struct Row {
    Policy policy;
    int made, w, f, failures;
  };
  const Row rows[] = {
      {kImmutablePolicy, 3, 3, 1, 2}, {kImmutablePolicy, 2, 2, 1, 1}, {kLogPolicy, 5, 3, 3, 2},
      {kLogPolicy, 4, 3, 2, 2},       {kLogPolicy, 3, 3, 1, 2},       {kSinglePolicy, 1, 1, 1, 0},
  };
  for (const Row& row : rows) {
    Result<MadePolicy> made = row.policy.ForMade(row.made);
    ASSERT_TRUE(made.ok()) << row.made;
    EXPECT_EQ(made->w, row.w);
    EXPECT_EQ(made->f(), row.f);
    EXPECT_EQ(made->FailuresMax(), row.failures);
    EXPECT_EQ(made->floor, row.policy.floor);
  }
}

TEST(PolicyTest, RefusesBelowTheFloorAndAboveN) {
  EXPECT_EQ(kImmutablePolicy.ForMade(1).code(), Code::kTooFewServers);
  EXPECT_EQ(kLogPolicy.ForMade(2).code(), Code::kTooFewServers);
  EXPECT_EQ(kLogPolicy.ForMade(0).code(), Code::kTooFewServers);
  EXPECT_EQ(kLogPolicy.ForMade(6).code(), Code::kInvalidArgument);
}

TEST(PolicyTest, ValidateNamesWhatIsWrong) {
  EXPECT_TRUE(kImmutablePolicy.Validate().ok());
  EXPECT_TRUE((Policy{.n = limits::kReplicasMax, .w = 1, .floor = 1}).Validate().ok());
  const Policy bad[] = {
      {.n = 0, .w = 1, .floor = 1}, {.n = limits::kReplicasMax + 1, .w = 1, .floor = 1},
      {.n = 3, .w = 4, .floor = 1}, {.n = 3, .w = 0, .floor = 1},
      {.n = 3, .w = 2, .floor = 0}, {.n = 3, .w = 2, .floor = 4}};
  for (const Policy& policy : bad) {
    EXPECT_EQ(policy.Validate().code(), Code::kInvalidArgument);
    EXPECT_FALSE(policy.ForMade(3).ok());
  }
  EXPECT_NE(bad[2].Validate().message().find("w is 4"), std::string::npos);
}

TEST(ReplicaSetTest, Basics) {
  ReplicaSet set{0, 3};
  EXPECT_TRUE(set.Has(0));
  EXPECT_FALSE(set.Has(1));
  EXPECT_EQ(set.Count(), 2);
  EXPECT_TRUE(ReplicaSet::FirstN(4).ContainsAll(set));
  EXPECT_FALSE(ReplicaSet::FirstN(3).ContainsAll(set));
  set.Remove(3);
  EXPECT_EQ(set, ReplicaSet{0});
  EXPECT_TRUE(ReplicaSet().Empty());
}

}  // namespace
}  // namespace moraine::protocol
