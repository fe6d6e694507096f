// SPDX-License-Identifier: Apache-2.0
#include "sandbox/clock_guard.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace atl::sandbox {
namespace {

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kYear = 365 * kDay;
constexpr int64_t kWall = 1'800'000'000'000;

class ClockGuardTest : public testing::Test {
 protected:
  ClockGuardTest() {
    std::string pattern = "/tmp/atoll-clock-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
  }
  ~ClockGuardTest() override { std::filesystem::remove_all(dir_); }

  std::string path() const { return dir_ + "/clock"; }
  static ClockReading At(int64_t boot_ms, int64_t ahead_ms, std::string boot = "one") {
    return {.boot_id = std::move(boot), .wall_ms = kWall + boot_ms + ahead_ms, .boot_ms = boot_ms};
  }

 private:
  std::string dir_;
};

TEST_F(ClockGuardTest, TimeThatPassesIsBelieved) {
  ClockGuard guard(path());
  EXPECT_FALSE(guard.WhyNotToRemove(At(0, 0)));
  EXPECT_FALSE(guard.WhyNotToRemove(At(kYear, 0)));
  // It is set right a little every day.
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(guard.WhyNotToRemove(At(kYear, i * kHour / 2)));
}

TEST_F(ClockGuardTest, AJumpAheadIsBelievedAfterADay) {
  ClockGuard guard(path());
  EXPECT_FALSE(guard.WhyNotToRemove(At(0, 0)));
  EXPECT_TRUE(guard.WhyNotToRemove(At(kHour, kYear)));
  EXPECT_TRUE(guard.WhyNotToRemove(At(kDay, kYear)));
  EXPECT_FALSE(guard.WhyNotToRemove(At(kDay + kHour, kYear)));
  EXPECT_FALSE(guard.WhyNotToRemove(At(kDay + kHour, kYear)));
}

TEST_F(ClockGuardTest, AJumpThatIsUndoneIsForgotten) {
  ClockGuard guard(path());
  EXPECT_FALSE(guard.WhyNotToRemove(At(0, 0)));
  EXPECT_TRUE(guard.WhyNotToRemove(At(kHour, kYear)));
  EXPECT_FALSE(guard.WhyNotToRemove(At(2 * kHour, 0)));
  // The day counts from the next one.
  EXPECT_TRUE(guard.WhyNotToRemove(At(3 * kDay, kYear)));
}

TEST_F(ClockGuardTest, AJumpBackIsBelievedAtOnce) {
  ClockGuard guard(path());
  EXPECT_FALSE(guard.WhyNotToRemove(At(0, 0)));
  EXPECT_FALSE(guard.WhyNotToRemove(At(kHour, -kYear)));
  EXPECT_TRUE(guard.WhyNotToRemove(At(kHour, 0)));
}

TEST_F(ClockGuardTest, ARestartBelievesNoMore) {
  EXPECT_FALSE(ClockGuard(path()).WhyNotToRemove(At(0, 0)));
  EXPECT_TRUE(ClockGuard(path()).WhyNotToRemove(At(kHour, kYear)));
  EXPECT_TRUE(ClockGuard(path()).WhyNotToRemove(At(kHour, kYear)));
  EXPECT_FALSE(ClockGuard(path()).WhyNotToRemove(At(kHour, 0)));
}

TEST_F(ClockGuardTest, AHostMayHaveBeenOff) {
  EXPECT_FALSE(ClockGuard(path()).WhyNotToRemove(At(0, 0)));
  EXPECT_TRUE(ClockGuard(path()).WhyNotToRemove(At(0, kYear, "two")));
  EXPECT_FALSE(ClockGuard(path()).WhyNotToRemove(At(0, 20 * kDay, "two")));
}

TEST_F(ClockGuardTest, ADamagedNoteIsWrittenAnew) {
  std::ofstream(path()) << "nonsense";
  EXPECT_FALSE(ClockGuard(path()).WhyNotToRemove(At(0, 0)));
  EXPECT_TRUE(ClockGuard(path()).WhyNotToRemove(At(0, kYear)));
}

}  // namespace
}  // namespace atl::sandbox
