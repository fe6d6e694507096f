// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_splitter.h"

#include <gtest/gtest.h>

namespace atl::gateway {
namespace {

TEST(EventSplitterTest, KeepsWhatIsNotWhole) {
  EventSplitter splitter;
  splitter.Append("data: 1\n\ndata: 2\nda");
  EXPECT_EQ(splitter.TakeWhole(), "data: 1\n\n");
  EXPECT_EQ(splitter.TakeWhole(), "");
  splitter.Append("ta: 3\n");
  EXPECT_EQ(splitter.TakeWhole(), "");
  splitter.Append("\n: c\n\n");
  EXPECT_EQ(splitter.TakeWhole(), "data: 2\ndata: 3\n\n: c\n\n");
  EXPECT_EQ(splitter.pending(), 0U);
}

TEST(EventSplitterTest, LinesEndInAnyWayAndAnywhere) {
  for (std::string_view text :
       {"data: 1\r\n\r\ndata: 2\r\n\r\n", "data: 1\r\rdata: 2\r\r", "data: 1\n\r\ndata: 2\r\n\n"}) {
    std::string whole;
    EventSplitter bytewise;
    for (char c : text) {
      bytewise.Append(std::string_view(&c, 1));
      whole += bytewise.TakeWhole();
    }
    // A line feed may come after the return that ended the event.
    EXPECT_LE(bytewise.pending(), 1U);
    EXPECT_EQ(whole, text.substr(0, whole.size()));
    EventSplitter at_once;
    at_once.Append(text);
    EXPECT_EQ(at_once.TakeWhole(), text);
  }
}

TEST(HasNewsTest, HeartbeatsAndCommentsAreNone) {
  EXPECT_FALSE(HasNews(""));
  EXPECT_FALSE(HasNews(": heartbeat\n\n"));
  EXPECT_FALSE(
      HasNews("data: {\"id\":\"evt_1\",\"type\":\"server.heartbeat\",\"properties\":{}}\n\n"));
  EXPECT_FALSE(HasNews(
      "data: {\"payload\":{\"id\":\"e\",\"type\":\"server.connected\",\"properties\":{}}}\n\n"));
  EXPECT_TRUE(HasNews("data: {\"payload\":{\"type\":\"session.idle\",\"properties\":{}}}\n\n"));
  EXPECT_TRUE(
      HasNews(": c\n\ndata: {\"type\":\"server.heartbeat\"}\n\ndata: {\"type\":\"message\"}\n\n"));
}

}  // namespace
}  // namespace atl::gateway
