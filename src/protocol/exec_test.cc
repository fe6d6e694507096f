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
  ExpectRoundTrip(
      ServiceStart{.process = {.id = "s", .argv = {"a"}, .env = {}, .restart = Restart::kAlways}});
  ExpectRoundTrip(ProcessStart{.id = "p",
                               .argv = {"a"},
                               .env = {{"A", ""}},
                               .cwd = "/",
                               .user = "u",
                               .display = "a",
                               .restart = Restart::kAlways});
  ExpectRoundTrip(ProcessInfo{.id = "p",
                              .display = "d",
                              .cwd = "/",
                              .user = "u",
                              .error = "e",
                              .status = ProcessStatus::kError,
                              .restart = Restart::kOnFailure,
                              .pid = 7,
                              .restarts = 3,
                              .exited = {.signal = 9},
                              .started_ms = 1,
                              .ended_ms = 2,
                              .log_begin = 3,
                              .log_end = 4,
                              .cpu_us = 5,
                              .max_rss_bytes = 6});
  ExpectRoundTrip(ProcessGet{.id = "p"});
  ExpectRoundTrip(ProcessList{});
  ExpectRoundTrip(ProcessLogs{.id = "p", .offset = ~0ULL, .limit = 1, .follow = true});
  ExpectRoundTrip(LogChunk{.offset = 1, .time_ms = 2, .err = true, .data = std::string("\0", 1)});
  ExpectRoundTrip(ProcessSignal{.id = "p", .signo = 15});
  ExpectRoundTrip(ProcessStop{.id = "p", .grace_ms = 1});
  ExpectRoundTrip(SessionOpen{
      .id = "s", .env = {{"A", "b"}}, .cwd = "/", .user = "u", .timeout_ms = 1ULL << 40U});
  ExpectRoundTrip(SessionInfo{
      .id = "s", .user = "u", .cwd = "/", .pid = 1, .created_ms = 2, .commands = 3, .busy = true});
  ExpectRoundTrip(SessionExec{.id = "s",
                              .command = "c",
                              .cwd = "/",
                              .env = {{"A", "b"}},
                              .stdin = "in",
                              .keep = true,
                              .timeout_ms = 4});
  ExpectRoundTrip(SessionClose{.id = "s"});
  ExpectRoundTrip(SessionList{});
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
