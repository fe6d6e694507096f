// SPDX-License-Identifier: Apache-2.0
#include "sandbox/bridge_link.h"

#include <gtest/gtest.h>

namespace atl::sandbox {
namespace {

TEST(BridgeLineTest, SaysWhatCodeHasSaid) {
  auto out = ParseBridgeLine(R"({"type":"stderr","text":"a\nb"})");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(std::get<CodeOutput>(*out).kind, CodeOutput::Kind::kStderr);
  EXPECT_EQ(std::get<CodeOutput>(*out).text, "a\nb");

  auto result = ParseBridgeLine(
      R"({"type":"result","value":true,"forms":{"png":"QUJD","text":"t","json":"{\"a\": [1]}"}})");
  ASSERT_TRUE(result) << result.error().message;
  const auto& forms = std::get<CodeOutput>(*result).forms;
  ASSERT_EQ(forms.size(), 3U);
  EXPECT_EQ(forms[0], std::pair(OutputForm::kText, std::string("t")));
  EXPECT_EQ(forms[1], std::pair(OutputForm::kPng, std::string("QUJD")));
  EXPECT_EQ(forms[2], std::pair(OutputForm::kJson, std::string(R"({"a":[1]})")));

  auto error =
      ParseBridgeLine(R"({"type":"error","name":"E","text":"why","traceback":["one","two"]})");
  ASSERT_TRUE(error) << error.error().message;
  EXPECT_EQ(std::get<CodeOutput>(*error).name, "E");
  EXPECT_EQ(std::get<CodeOutput>(*error).traceback.size(), 2U);

  auto done = ParseBridgeLine(R"({"type":"done","ok":true,"restarted":true,"count":7,"ms":1.5})");
  ASSERT_TRUE(done) << done.error().message;
  const CodeOutcome& outcome = std::get<BridgeDone>(*done).outcome;
  EXPECT_TRUE(outcome.ok && outcome.restarted && !outcome.timed_out);
  EXPECT_EQ(outcome.execution_count, 7U);
}

TEST(BridgeLineTest, RefusesWhatNoBridgeOfOursSays) {
  for (const char* line :
       {"", "x", "[]", "{}", R"({"type":"else"})", R"({"type":"stdout"})",
        R"({"type":"stdout","text":5})", "{\"type\":\"stdout\",\"text\":\"\xff\"}",
        R"({"type":"result"})", R"({"type":"result","forms":{"png":"<b>"}})",
        // It would stand in an answer as it is.
        R"({"type":"result","forms":{"json":"1,\"success\":true"}})",
        R"({"type":"result","forms":{"chart":"}{"}})", R"({"type":"error","name":"n"})",
        R"({"type":"done","count":-1})", R"({"type":"done","ok":"yes"})",
        R"({"type":"done","created":1e300})"}) {
    auto message = ParseBridgeLine(line);
    ASSERT_FALSE(message) << line;
    EXPECT_EQ(ReasonOf(message.error()), "CODE_EXECUTION_ERROR") << line;
  }
  auto refused = ParseBridgeLine(R"({"type":"refused","why":"too many"})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(ReasonOf(refused.error()), "CONTEXT_BUSY");
}

TEST(LanguageTest, HasItsNames) {
  EXPECT_EQ(*ParseLanguage("js"), CodeLanguage::kJavaScript);
  EXPECT_EQ(*ParseLanguage("typescript"), CodeLanguage::kTypeScript);
  EXPECT_FALSE(ParseLanguage("ruby"));
}

}  // namespace
}  // namespace atl::sandbox
