// SPDX-License-Identifier: Apache-2.0
#include "protocol/exec.h"

#include <gtest/gtest.h>

namespace atl::protocol {
namespace {

template <class M>
void ExpectRoundTrip(const M& message) {
  auto bytes = Encode(message);
  ASSERT_TRUE(bytes.has_value());
  FrameParser parser;
  parser.Feed(*bytes);
  auto frame = parser.Next();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  auto decoded = Expect<M>(**frame);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(*decoded, message);
  std::string payload((*frame)->payload);
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_FALSE(Decode<M>(std::string_view(payload).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(Decode<M>(payload + "x").has_value());
}

TEST(ExecMessagesTest, EveryMessageSurvivesTheWire) {
  ExpectRoundTrip(Exec{.argv = {"a", "b"},
                       .env = {{"A", "1"}},
                       .cwd = "/",
                       .user = "nobody:daemon",
                       .want_stdin = true,
                       .keep = true,
                       .kill_grace_ms = 5,
                       .timeout_ms = 1ULL << 40U});
  ExpectRoundTrip(Usage{.cpu_us = 1ULL << 50U, .max_rss_bytes = 7, .timed_out = true});
}

TEST(ExecMessagesTest, AnOlderAgentIsToldFromOneThatRefuses) {
  FrameParser parser;
  std::string frame = EncodeFrame(FrameType::kOk);
  frame[0] = '\x7f';
  parser.Feed(frame);
  auto unknown = parser.Next();
  ASSERT_FALSE(unknown.has_value());
  EXPECT_TRUE(IsUnknownRequest(unknown.error()));
  EXPECT_FALSE(IsUnknownRequest(Error{.code = Code::kInvalidArgument, .message = "no"}));
}

}  // namespace
}  // namespace atl::protocol
