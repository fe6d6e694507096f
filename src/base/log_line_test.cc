// SPDX-License-Identifier: Apache-2.0
#include "base/log_line.h"

#include <gtest/gtest.h>

#include <string>

namespace atl::log {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

std::string Line(std::string_view message) {
  return JsonLine(system_clock::time_point(milliseconds(1'767'323'045'007)), "warning", message);
}

std::string Message(std::string_view message) {
  std::string line = Line(message);
  size_t begin = line.find(R"("message":)") + 10;
  return line.substr(begin, line.size() - 1 - begin);
}

TEST(LogLineTest, HasTimeLevelAndMessage) {
  EXPECT_EQ(Line("something"),
            R"({"time":"2026-01-02T03:04:05.007Z","level":"warning","message":"something"})");
}

TEST(LogLineTest, NamesTheSandboxThatAMessageIsAbout) {
  EXPECT_TRUE(Line("sandbox my-box is running: adopted").ends_with(R"(,"sandbox":"my-box"})"));
  EXPECT_EQ(SandboxOf("sandbox demo: cannot be stopped"), "demo");
  EXPECT_EQ(SandboxOf("3 sandboxes were looked at"), "");
  EXPECT_EQ(SandboxOf("sandbox "), "");
  EXPECT_EQ(SandboxOf("sandbox \"x\": no"), "");
  EXPECT_EQ(SandboxOf("sandbox Upper: no"), "");
  EXPECT_EQ(SandboxOf("sandbox " + std::string(40, 'a') + ": no"), "");
}

TEST(LogLineTest, EscapesWhatJsonReserves) {
  EXPECT_EQ(Message("a \"b\" \\ c\nd\te\x01\x1f\r"), R"("a \"b\" \\ c\nd\te\u0001\u001f\u000d")");
  EXPECT_EQ(Message(std::string_view("\0x", 2)), R"("\u0000x")");
  EXPECT_EQ(Message("\x7f"), "\"\x7f\"");
}

TEST(LogLineTest, KeepsUtf8AndReplacesEveryOtherByte) {
  EXPECT_EQ(Message("ö € 𝄞"), "\"ö € 𝄞\"");
  constexpr const char* kOne = "\"\xEF\xBF\xBD\"";
  EXPECT_EQ(Message("\xFF"), kOne);
  EXPECT_EQ(Message("\xC3"), kOne);
  EXPECT_EQ(Message("\xC0\xAF"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");                  // overlong
  EXPECT_EQ(Message("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");  // a surrogate
  EXPECT_EQ(Message("\xE2\x82z"), "\"\xEF\xBF\xBD\xEF\xBF\xBDz\"");                // cut short
}

}  // namespace
}  // namespace atl::log
