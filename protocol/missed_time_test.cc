#include "protocol/missed_time.h"

#include <gtest/gtest.h>

namespace moraine::protocol {
namespace {

using namespace std::chrono_literals;

TEST(MissedTime, CountsOnlyWhatIsMuchTooLate) {
  MissedTime missed(10s);
  EXPECT_EQ(missed.Look(10s + 500ms, 500ms, 2s), 0s);
  EXPECT_EQ(missed.Look(11s + 1ms, 500ms, 2s), 0s);       // a little late, as always
  EXPECT_EQ(missed.Look(11s + 101ms, 500ms, 2s), 0s);     // early: there was something to do
  EXPECT_EQ(missed.Look(12s + 101ms, 500ms, 2s), 0s);     // a quarter
  EXPECT_EQ(missed.Look(13s + 102ms, 500ms, 2s), 501ms);  // more
  EXPECT_EQ(missed.Look(3613s + 102ms, 500ms, 2s), 3599s + 500ms);
  EXPECT_EQ(missed.Look(3613s + 602ms, 500ms, 2s), 0s);  // each look by itself
}

}  // namespace
}  // namespace moraine::protocol
