// SPDX-License-Identifier: Apache-2.0
#include "oci/probe.h"

#include <gtest/gtest.h>

#include "oci/test_host.h"

namespace atl::oci {
namespace {

TEST(Probe, FindsWhatTheOtherTestsUse) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  for (const Check& check : ProbeHost(host.dir())) {
    EXPECT_TRUE(check.ok || !check.required) << check.name << ": " << check.detail;
    EXPECT_FALSE(check.detail.empty()) << check.name;
  }
  for (const auto& entry : std::filesystem::directory_iterator(host.dir())) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("probe")) << "it cleans up";
  }
}

}  // namespace
}  // namespace atl::oci
