// SPDX-License-Identifier: Apache-2.0
#include "opencode/watchdog.h"

#include <gtest/gtest.h>

#include <vector>

#include "async/runtime.h"

namespace atl::opencode {
namespace {

using std::chrono::milliseconds;

constexpr WatchdogOptions kQuick{.interval = milliseconds(1),
                                 .limit = milliseconds(1),
                                 .recheck = milliseconds(1),
                                 .patience = 3};

// What a server answers to one probe after the other, and whether its sandbox runs then.
struct Probed {
  std::vector<bool> answers;  // after the last one: none
  std::vector<bool> runs;     // at each look; after the last one: it does
  size_t probes = 0;
  size_t looks = 0;

  bool Look() {
    size_t at = looks++;
    return at >= runs.size() || runs[at];
  }
  async::Task<bool> Probe() {
    size_t at = probes++;
    co_return at < answers.size() && answers[at];
  }
};

void Watch(Probed& probed) {
  HealthProbe probe = [&probed](milliseconds) { return probed.Probe(); };
  async::RunToEnd(WaitForHang(probe, [&probed] { return probed.Look(); }, kQuick));
}

TEST(WaitForHangTest, OnlyFailuresInARowCount) {
  Probed probed{.answers = {true, false, false, true, false, false}};
  Watch(probed);
  EXPECT_EQ(probed.probes, 7U);
}

TEST(WaitForHangTest, WhatSleepsIsNotAsked) {
  Probed probed{.runs = {false, false, false, false, false}};
  Watch(probed);
  EXPECT_EQ(probed.probes, 3U);
}

TEST(WaitForHangTest, WhatFellAsleepMeanwhileHasNotFailed) {
  Probed probed{.runs = {true, true, true, true, true, false}};
  Watch(probed);
  EXPECT_EQ(probed.probes, 6U);
}

}  // namespace
}  // namespace atl::opencode
