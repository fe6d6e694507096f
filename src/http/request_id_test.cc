// SPDX-License-Identifier: Apache-2.0
#include "http/request_id.h"

#include <gtest/gtest.h>

namespace atl::http {
namespace {

constexpr std::string_view kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";

RequestHead With(std::string name, std::string value) {
  RequestHead head;
  head.headers.Add(std::move(name), std::move(value));
  return head;
}

TEST(RequestIdTest, IsTheTraceThatTheClientIsIn) {
  EXPECT_EQ(ChooseRequestId(
                With("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
            kTrace);
  EXPECT_EQ(TraceId("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), kTrace);
}

TEST(RequestIdTest, TakesNoTraceThatIsNone) {
  for (std::string_view bad : {"", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
                               "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                               "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                               "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                               "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                               "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                               "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01"}) {
    EXPECT_EQ(TraceId(bad), "") << bad;
  }
}

TEST(RequestIdTest, IsTheClientsOwnIfItIsHarmless) {
  EXPECT_EQ(ChooseRequestId(With("x-request-id", "build_7.of-A")), "build_7.of-A");
  EXPECT_NE(ChooseRequestId(With("x-request-id", "a b")), "a b");
  EXPECT_EQ(ChooseRequestId(With("x-request-id", std::string(129, 'a'))).size(), 32U);
}

TEST(RequestIdTest, IsNewOtherwise) {
  RequestHead head;
  std::string one = ChooseRequestId(head);
  EXPECT_EQ(one.size(), 32U);
  EXPECT_NE(one, ChooseRequestId(head));
}

}  // namespace
}  // namespace atl::http
