// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace atl {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail(Code::kInvalidArgument, "odd");
  return n / 2;
}

Result<int> Quarter(int n) {
  ASSIGN(int half, Half(n));
  TRY(Half(half));
  return half / 2;
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(Quarter(8).value(), 2);
  ASSERT_FALSE(Quarter(6).has_value());
  EXPECT_EQ(Quarter(6).error().message, "odd");
}

TEST(ResultTest, ErrnoErrorSaysWhatWasTriedAndWhy) {
  Error error = ErrnoError(ENOENT, "open /nowhere");
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_EQ(error.message, "open /nowhere: No such file or directory");
  EXPECT_EQ(error.sys_errno, ENOENT);
  EXPECT_EQ(ReasonOf(error), "FILE_NOT_FOUND");
  EXPECT_EQ(std::move(error).Wrap("read config").message,
            "read config: open /nowhere: No such file or directory");
}

TEST(ResultTest, EveryCodeHasAStatusAndAReason) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    Code code = static_cast<Code>(i);
    EXPECT_GE(HttpStatus(code), 400);
    EXPECT_FALSE(DefaultReason(code).empty());
  }
}

}  // namespace
}  // namespace atl
