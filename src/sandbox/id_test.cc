// SPDX-License-Identifier: Apache-2.0
#include "sandbox/id.h"

#include <gtest/gtest.h>

#include "crypto/bytes.h"

namespace atl::sandbox {
namespace {

TEST(IdTest, GoodOnes) {
  for (std::string id : {"a", "7", "demo", "my-sandbox-2", "1234", "a-1", "3d-printer",
                         "x3000-demo", "wwww", "apis", "sdk-1"}) {
    EXPECT_TRUE(ValidateId(id)) << id;
  }
  EXPECT_TRUE(ValidateId(std::string(39, 'a')));
}

TEST(IdTest, BadOnes) {
  for (std::string id :
       {"",  "-",   "-a", "a-",        "a--b", "Demo", "DEMO", "a_b", "a.b", "a b",    " a", "a\n",
        "ä", "a/b", "..", "3000-demo", "0-a",  "1-2",  "www",  "api", "sdk", "sdk--x", "%61"}) {
    auto valid = ValidateId(id);
    ASSERT_FALSE(valid) << id;
    EXPECT_EQ(valid.error().code, Code::kInvalidArgument) << id;
    EXPECT_EQ(valid.error().reason, "INVALID_SANDBOX_ID") << id;
  }
  EXPECT_FALSE(ValidateId(std::string("a\0b", 3)));
  EXPECT_FALSE(ValidateId(std::string(40, 'a')));
  auto huge = ValidateId(std::string(1'000'000, 'a'));
  ASSERT_FALSE(huge);
  EXPECT_LT(huge.error().message.size(), 200U);
}

TEST(IdTest, InternalIdsAreSixteenHexDigits) {
  std::string iid = NewInternalId();
  EXPECT_TRUE(crypto::IsHex(iid, 16)) << iid;
  EXPECT_NE(iid, NewInternalId());
}

}  // namespace
}  // namespace atl::sandbox
