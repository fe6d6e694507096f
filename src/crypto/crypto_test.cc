// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "crypto/bytes.h"
#include "crypto/sha256.h"

namespace atl::crypto {
namespace {

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesMakeTheSameHash) {
  std::string data(1'000'000, 'a');
  Sha256 hash;
  for (size_t at = 0; at < data.size(); at += 4093) {
    hash.Update(std::string_view(data).substr(at, 4093));
  }
  EXPECT_EQ(hash.FinishHex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Bytes, Hex) {
  const unsigned char bytes[] = {0x00, 0x0f, 0xa5, 0xff};
  EXPECT_EQ(Hex(bytes), "000fa5ff");
  EXPECT_TRUE(IsHex("000fa5ff", 8));
  EXPECT_FALSE(IsHex("000fa5ff", 7));
  EXPECT_FALSE(IsHex("000FA5FF", 8));
  EXPECT_FALSE(IsHex("000fa5f/", 8));
  EXPECT_TRUE(IsHex("", 0));
}

TEST(Bytes, RandomDoesNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string token = RandomHex(8);
    EXPECT_TRUE(IsHex(token, 16));
    EXPECT_TRUE(seen.insert(token).second);
  }
}

TEST(Bytes, ConstantTimeEqual) {
  EXPECT_TRUE(ConstantTimeEqual("", ""));
  EXPECT_TRUE(ConstantTimeEqual("secret", "secret"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secreT"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secret "));
}

}  // namespace
}  // namespace atl::crypto
