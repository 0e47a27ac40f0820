#include "base/fault_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace moraine {
namespace {

using testing::ElementsAre;

Status Write() {
  MORAINE_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("test.write"));
  return Status::Ok();
}
Status WriteElsewhere() { return MORAINE_FAULT_STATUS("test.write"); }
void Sync() { MORAINE_FAULT_POINT("test.before_sync"); }

template <class T>
void InATemplate() {
  MORAINE_FAULT_POINT("test.template");
}

class FaultPointTest : public testing::Test {
 protected:
  void TearDown() override { ResetFaults(); }
};

std::vector<std::string> Counts() {
  std::vector<std::string> out;
  for (const FaultHits& point : ListFaultPoints()) {
    if (point.name.starts_with("test."))
      out.push_back(point.name + ":" + std::to_string(point.hits));
  }
  return out;
}

TEST_F(FaultPointTest, OffIsSilentAndUncounted) {
  EXPECT_TRUE(Write().ok());
  Sync();
  InATemplate<int>();
  EXPECT_THAT(Counts(), testing::IsSupersetOf({"test.before_sync:0", "test.write:0"}));
}

TEST_F(FaultPointTest, CountsAllPlacesOfOneName) {
  CountFaultHits();
  EXPECT_TRUE(Write().ok());
  EXPECT_TRUE(WriteElsewhere().ok());
  InATemplate<int>();
  InATemplate<long>();
  EXPECT_THAT(Counts(), ElementsAre("test.before_sync:0", "test.template:2", "test.write:2"));
  ResetFaults();
  EXPECT_THAT(Counts(), ElementsAre("test.before_sync:0", "test.template:0", "test.write:0"));
}

TEST_F(FaultPointTest, MutantsAreNotForTheEnvironment) {
  EXPECT_EQ(ArmFaults("test.write=io,mutant.test=io").code(), Code::kInvalidArgument);
  EXPECT_TRUE(Write().ok()) << "nothing is armed";
}

TEST_F(FaultPointTest, ErrorsFromTheNthHitForNTimes) {
  ASSERT_TRUE(ArmFaults("test.write=io@2x2,test.other=crash").ok());
  EXPECT_EQ(Write().code(), Code::kOk);
  EXPECT_EQ(Write().code(), Code::kIo);
  EXPECT_EQ(Write().ToString(), "io: fault point test.write");
  EXPECT_EQ(Write().code(), Code::kOk);
  ResetFaults();
  ASSERT_TRUE(ArmFaults("test.write=nospacex*").ok());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Write().code(), Code::kNoSpace);
}

TEST_F(FaultPointTest, CallsBack) {
  int calls = 0;
  ArmFault({.name = "test.write", .action = FaultSpec::Action::kCall, .call = [&calls] {
              ++calls;
              return Status(Code::kQuarantined, "called");
            }});
  EXPECT_EQ(Write().code(), Code::kQuarantined);
  EXPECT_EQ(Write().code(), Code::kOk);
  EXPECT_EQ(calls, 1);
}

TEST_F(FaultPointTest, BadTextArmsNothing) {
  for (const char* text : {"x", "=crash", "x=", "x=boom", "x=crash@", "x=crash@0", "x=crashx",
                           "x=io@1y", "test.write=io,bad"}) {
    EXPECT_EQ(ArmFaults(text).code(), Code::kInvalidArgument) << text;
  }
  EXPECT_TRUE(Write().ok());
  EXPECT_TRUE(ArmFaults("").ok());
}

TEST_F(FaultPointTest, ManyThreads) {
  ASSERT_TRUE(ArmFaults("test.write=io@500x10").ok());
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&errors] {
      for (int i = 0; i < 1000; ++i) errors += Write().ok() ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 10);
}

using FaultPointDeathTest = FaultPointTest;

TEST_F(FaultPointDeathTest, CrashesAtTheNthHit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("MORAINE_FAULTS", "test.before_sync=crash@3", 1);
        ArmFaultsFromEnvironment();
        Sync();
        Sync();
        std::fprintf(stderr, "two are survived\n");
        Sync();
      },
      testing::ExitedWithCode(kFaultCrashExitCode),
      "two are survived\nfault point test.before_sync: crash\n");
  EXPECT_EXIT(
      {
        setenv("MORAINE_FAULTS", "nonsense", 1);
        ArmFaultsFromEnvironment();
      },
      testing::ExitedWithCode(2), "'nonsense' is not name=action");
  EXPECT_EXIT(
      {
        dup2(STDERR_FILENO, STDOUT_FILENO);  // what is matched is standard error
        setenv("MORAINE_FAULTS", "list", 1);
        ArmFaultsFromEnvironment();
      },
      testing::ExitedWithCode(0), "test.before_sync\ntest.template\ntest.write");
}

}  // namespace
}  // namespace moraine
