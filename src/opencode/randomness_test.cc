// SPDX-License-Identifier: Apache-2.0
#include "opencode/randomness.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "sys/fd.h"

namespace atl::opencode {
namespace {

constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kReserve = 2048;
constexpr size_t kCount = sizeof(uint64_t);

class RandomnessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = std::filesystem::temp_directory_path() / "atoll-randomness-XXXXXX";
    ASSERT_NE(::mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    std::mt19937_64 engine(42);
    for (char& c : memory_) c = static_cast<char>(engine());
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // As the runtime keeps it: how many are used, and the bytes.
  void Place(size_t at, uint64_t used) { std::memcpy(&memory_[at - kCount], &used, sizeof(used)); }
  std::string Drawn(size_t at) const {
    std::string text;
    for (size_t i = 0; i < 14; ++i) {
      text += kDigits[static_cast<unsigned char>(memory_[at + i]) % kDigits.size()];
    }
    return text;
  }
  Result<void> UseUp(const std::vector<std::string>& drawn) {
    EXPECT_TRUE(sys::WriteFile(dir_ + "/pages-1.img", memory_));
    return UseUpRandomness(dir_, drawn);
  }
  uint64_t UsedIn(size_t at) const {
    uint64_t used = 0;
    auto text = sys::ReadFile(dir_ + "/pages-1.img");
    if (text) std::memcpy(&used, text->data() + at - kCount, sizeof(used));
    return used;
  }

  std::string dir_;
  std::string memory_ = std::string(64U << 10U, '\0');
};

TEST_F(RandomnessTest, WhatWasKeptIsUsedUp) {
  Place(8192, 32);
  ASSERT_TRUE(UseUp({Drawn(8192 + 48), Drawn(8192 + 90)}));
  EXPECT_EQ(UsedIn(8192), kReserve);
  auto text = sys::ReadFile(dir_ + "/pages-1.img");
  std::memcpy(&memory_[8192 - kCount], text->data() + 8192 - kCount, kCount);
  EXPECT_EQ(*text, memory_) << "nothing else is changed";
}

TEST_F(RandomnessTest, WhatIsNotFoundIsAnError) {
  Place(8192, 32);
  EXPECT_FALSE(UseUp({"00000000000000", Drawn(8192 + 90)}));
  // Behind what is kept: the second came from somewhere else.
  EXPECT_FALSE(UseUp({Drawn(8192 + 48), Drawn(8192 + 4096)}));
  // More is used than was when the first was drawn.
  Place(8192, 400);
  EXPECT_FALSE(UseUp({Drawn(8192 + 48), Drawn(8192 + 90)}));
  EXPECT_FALSE(UseUp({}));
}

TEST_F(RandomnessTest, TwoPlacesAreOneTooMany) {
  Place(8192, 32);
  memory_.replace(32768 - kCount, kReserve + 64, memory_.substr(8192 - kCount, kReserve + 64));
  EXPECT_FALSE(UseUp({Drawn(8192 + 48), Drawn(8192 + 90)}));
  EXPECT_EQ(UsedIn(8192), 32);
}

TEST_F(RandomnessTest, WhatTheOriginalHadDrawnIsEnough) {
  Place(8192, 400);
  ASSERT_TRUE(sys::WriteFile(dir_ + "/pages-1.img", memory_));
  // The first came from bytes that were made before these, the last is drawn by now, not then.
  std::vector<std::string> drawn = {"00000000000000", Drawn(8192 + 386), "11111111111111"};
  ASSERT_TRUE(UseUpRandomnessDrawn(dir_, drawn));
  EXPECT_EQ(UsedIn(8192), kReserve);
}

TEST_F(RandomnessTest, WhatTheOriginalHadNotYetDrawnSaysNothing) {
  Place(8192, 400);
  ASSERT_TRUE(sys::WriteFile(dir_ + "/pages-1.img", memory_));
  EXPECT_FALSE(UseUpRandomnessDrawn(dir_, {Drawn(8192 + 387)}));
  EXPECT_FALSE(UseUpRandomnessDrawn(dir_, {}));
  EXPECT_FALSE(UseUpRandomnessDrawn(dir_, {"short"}));
  EXPECT_EQ(UsedIn(8192), 400);
}

}  // namespace
}  // namespace atl::opencode
