// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "api/seed/output_events.h"
#include "api/seed/requests.h"
#include "api/seed/snapshots.h"
#include "json/utf8.h"

namespace atl::api {
namespace {

using Stream = OutputEvents::Stream;
using ::testing::HasSubstr;

// The events of a text, each as its JSON object.
std::vector<json::Object> Events(std::string_view text) {
  std::vector<json::Object> events;
  while (!text.empty()) {
    size_t end = text.find("\n\n");
    EXPECT_NE(end, std::string_view::npos);
    EXPECT_TRUE(text.starts_with("data: "));
    std::string_view json = text.substr(6, end - 6);
    EXPECT_EQ(json.find('\n'), std::string_view::npos);
    auto object = json::Object::Parse(json);
    EXPECT_TRUE(object) << json;
    if (object) events.push_back(*object);
    text.remove_prefix(end + 2);
  }
  return events;
}

std::string Decode(std::string_view base64) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t word = 0;
  int bits = 0;
  for (char c : base64) {
    if (c == '=') break;
    word = word << 6U | static_cast<uint32_t>(kAlphabet.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out.push_back(static_cast<char>(word >> static_cast<uint32_t>(bits) & 0xFFU));
  }
  return out;
}

// What a client puts together from the events of one stream.
std::string Received(const std::vector<json::Object>& events, std::string_view type) {
  std::string out;
  for (const json::Object& event : events) {
    if (event.String("type").value() != type) continue;
    auto data = event.OptionalString("data").value();
    auto base64 = event.OptionalString("base64").value();
    EXPECT_NE(data.has_value(), base64.has_value());
    out += data ? *data : Decode(*base64);
  }
  return out;
}

TEST(OutputEventsTest, ShapesAreThoseOfTheApi) {
  OutputEvents events;
  std::string out;
  events.Start("echo \"hi\"", out);
  events.Output(Stream::kStdout, "hi\n", out);
  events.Output(Stream::kStderr, "oh", out);
  events.Complete({.exit_code = 3}, out);
  std::vector<json::Object> all = Events(out);
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].String("command").value(), "echo \"hi\"");
  EXPECT_EQ(all[1].String("type").value(), "stdout");
  EXPECT_EQ(all[1].String("data").value(), "hi\n");
  EXPECT_EQ(all[2].String("type").value(), "stderr");
  EXPECT_EQ(all[3].OptionalInt("exitCode", {}).value(), 3);
  EXPECT_FALSE(all[3].Has("timedOut"));
  for (const json::Object& event : all) {
    EXPECT_THAT(event.String("timestamp").value(),
                ::testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\."
                                        "[0-9]{3}Z"));
  }
}

TEST(OutputEventsTest, TimeoutAndFailureSaySo) {
  OutputEvents events;
  std::string out;
  events.Complete({.exit_code = 124, .timed_out = true}, out);
  events.Failure({.code = Code::kUnavailable, .message = "gone"}, out);
  EXPECT_THAT(out, HasSubstr(R"("exitCode":124,"timedOut":true,"timestamp")"));
  EXPECT_THAT(out, HasSubstr(R"({"type":"error","error":"gone","code":")"));
}

TEST(OutputEventsTest, ACodePointIsNeverSplit) {
  std::string text = "aé€\xF0\x9F\x8C\x8Az";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    OutputEvents events;
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) {
      events.Output(Stream::kStdout, std::string_view(text).substr(at, piece), out);
    }
    events.Complete(sandbox::RunOutcome{}, out);
    std::vector<json::Object> all = Events(out);
    EXPECT_EQ(Received(all, "stdout"), text);
    for (const json::Object& event : all) EXPECT_FALSE(event.Has("base64")) << piece;
  }
}

TEST(OutputEventsTest, StreamsWaitForThemselves) {
  OutputEvents events;
  std::string out;
  events.Output(Stream::kStdout, "\xC3", out);
  events.Output(Stream::kStderr, "x", out);
  events.Output(Stream::kStdout, "\xA9", out);
  std::vector<json::Object> all = Events(out);
  EXPECT_EQ(Received(all, "stdout"), "é");
  EXPECT_EQ(Received(all, "stderr"), "x");
}

TEST(OutputEventsTest, BytesThatAreNoTextComeAsBase64) {
  OutputEvents events;
  std::string out;
  events.Output(Stream::kStdout, "ok\xff\n", out);
  events.Output(Stream::kStdout, "fine\n", out);
  events.Output(Stream::kStderr, "\xE2\x82", out);
  events.Complete(sandbox::RunOutcome{}, out);
  std::vector<json::Object> all = Events(out);
  EXPECT_EQ(Received(all, "stdout"), "ok\xff\nfine\n");
  EXPECT_EQ(Received(all, "stderr"), "\xE2\x82");
  EXPECT_EQ(all[0].String("data").value(), "ok");
  EXPECT_EQ(all[1].String("base64").value(), "/wo=");
  EXPECT_EQ(all[2].String("data").value(), "fine\n");
}

TEST(OutputEventsTest, RandomBytesInRandomPiecesArriveWhole) {
  std::mt19937 random(7);
  std::string bytes;
  const std::string_view alphabet = "ab\n\"\\\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\x8A\xff";
  for (int i = 0; i < 20'000; ++i) bytes.push_back(alphabet[random() % alphabet.size()]);
  OutputEvents events;
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    size_t piece = 1 + random() % 50;
    events.Output(Stream::kStdout, std::string_view(bytes).substr(at, piece), out);
    at += piece;
  }
  events.Complete(sandbox::RunOutcome{}, out);
  EXPECT_EQ(Received(Events(out), "stdout"), bytes);
}

TEST(OutputEventsTest, LongOutputIsCutAtCodePoints) {
  std::string text;
  while (text.size() < 200'000) text += "€";
  OutputEvents events;
  std::string out;
  events.Output(Stream::kStdout, text, out);
  events.Complete(sandbox::RunOutcome{}, out);
  std::vector<json::Object> all = Events(out);
  EXPECT_GE(all.size(), 4U);
  EXPECT_EQ(Received(all, "stdout"), text);
  for (const json::Object& event : all) {
    EXPECT_LE(event.OptionalString("data").value().value_or("").size(), 65536U);
    EXPECT_FALSE(event.Has("base64"));
  }
}

TEST(IsoTimeTest, IsUtcWithMilliseconds) {
  EXPECT_EQ(IsoTime(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(IsoTime(1767323045007), "2026-01-02T03:04:05.007Z");
}

json::Object Body(std::string_view text) { return json::Object::Parse(text, true).value(); }

TEST(ParseCreateTest, EveryFieldIsOptionalAndTyped) {
  CreateRequest plain = ParseCreate(Body(""), {}, {}).value();
  EXPECT_FALSE(plain.opencode.has_value());
  EXPECT_FALSE(plain.options.image);
  CreateRequest full =
      ParseCreate(Body(R"({"opencode":false,"image":"x","memory":"2G","cpus":1.5,"pids":64,
                           "disk":"1G","inodes":5000,"weight":200,"env":{"A":"1"},"later":1})"),
                  {}, {})
          .value();
  EXPECT_EQ(full.opencode, false);
  EXPECT_EQ(full.options.memory_bytes, 2ULL << 30U);
  EXPECT_EQ(full.options.cpus, 1.5);
  EXPECT_EQ(full.options.pids, 64U);
  EXPECT_EQ(full.options.disk_bytes, 1ULL << 30U);
  EXPECT_EQ(full.options.inodes, 5000U);
  EXPECT_EQ(full.options.weight, 200U);
  EXPECT_FALSE(plain.options.disk_bytes);
  EXPECT_EQ(ParseCreate(Body(R"({"disk":0})"), {}, {}).value().options.disk_bytes, 0U);
  EXPECT_EQ(ParseCreate(Body(R"({"memory":1073741824})"), {}, {}).value().options.memory_bytes,
            1ULL << 30U);
  for (const char* bad :
       {R"({"opencode":"yes"})", R"({"image":1})", R"({"memory":"lots"})", R"({"memory":-1})",
        R"({"memory":true})", R"({"cpus":"2"})", R"({"cpus":-1})", R"({"cpus":1e300})",
        R"({"disk":"much"})", R"({"disk":-1})", R"({"inodes":"9"})", R"({"weight":0})",
        R"({"weight":10001})", R"({"pids":1.5})", R"({"pids":0})", R"({"env":[]})",
        R"({"env":{"A=B":"1"}})", R"({"env":{"A":1}})", R"({"image":"a\u0000b"})"}) {
    Result<CreateRequest> request = ParseCreate(Body(bad), {}, {});
    ASSERT_FALSE(request) << bad;
    EXPECT_EQ(HttpStatus(request.error().code), 400) << bad;
  }
}

TEST(ParseCreateTest, WaitIsATimeOrJustYes) {
  using std::chrono::milliseconds;
  auto wait = [](std::string_view body) {
    return ParseCreate(Body(body), {}, {}).value().options.wait;
  };
  EXPECT_EQ(wait("{}"), milliseconds(0));
  EXPECT_EQ(wait(R"({"wait":false})"), milliseconds(0));
  EXPECT_EQ(wait(R"({"wait":true})"), milliseconds(60'000));
  EXPECT_EQ(wait(R"({"wait":1.5})"), milliseconds(1500));
  for (const char* bad : {R"({"wait":-1})", R"({"wait":601})", R"({"wait":"1s"})"}) {
    EXPECT_FALSE(ParseCreate(Body(bad), {}, {})) << bad;
  }
}

TEST(ParseCreateTest, PreferMayAskToWait) {
  using std::chrono::milliseconds;
  EXPECT_EQ(PreferredWait("wait=10"), milliseconds(10'000));
  EXPECT_EQ(PreferredWait("respond-async, wait=7 ,x"), milliseconds(7'000));
  EXPECT_EQ(PreferredWait("wait=999999"), milliseconds(600'000));
  for (std::string_view none : {"", "wait", "wait=", "wait=x", "wait=-5", ",,", "await=5"}) {
    EXPECT_EQ(PreferredWait(none), milliseconds(0)) << none;
  }
}

TEST(ParseRunTest, CommandIsRequired) {
  sandbox::RunRequest run =
      ParseRun(Body(R"({"command":"ls","cwd":"/tmp","timeout":500,"env":{"A":"b"}})")).value();
  EXPECT_EQ(run.command, "ls");
  EXPECT_EQ(run.cwd, "/tmp");
  EXPECT_EQ(run.timeout, std::chrono::milliseconds(500));
  EXPECT_EQ(ParseRun(Body(R"({"command":"ls"})")).value().cwd, "/workspace");
  for (const char* bad :
       {"{}", R"({"command":1})", R"({"command":["ls"]})", R"({"command":"a\u0000"})",
        R"({"command":"ls","cwd":5})", R"({"command":"ls","timeout":0})",
        R"({"command":"ls","timeout":-5})", R"({"command":"ls","timeout":"1s"})",
        R"({"command":"ls","timeout":1e30})", R"({"command":"ls","env":{"A":null}})"}) {
    EXPECT_FALSE(ParseRun(Body(bad))) << bad;
  }
}

TEST(ParseCloneTest, DepthIsAPositiveNumber) {
  EXPECT_TRUE(ParseClone(Body(R"({"repo":"https://h/x","depth":1})")));
  EXPECT_FALSE(ParseClone(Body(R"({"repo":"https://h/x","depth":0})")));
  EXPECT_FALSE(ParseClone(Body(R"({"repo":"https://h/x","branch":1})")));
  EXPECT_FALSE(ParseClone(Body("{}")));
}

TEST(ParseSnapshotTest, DirIsRequiredAndNamesAreShort) {
  EXPECT_EQ(ParseSnapshot(Body(R"({"dir":"/workspace"})")).value().name, "");
  EXPECT_FALSE(ParseSnapshot(Body("{}")));
  EXPECT_FALSE(ParseSnapshot(Body(R"({"dir":"/w","name":"a\nb"})")));
  EXPECT_FALSE(ParseSnapshot(Body(R"({"dir":"/w","name":")" + std::string(300, 'a') + "\"}")));
}

}  // namespace
}  // namespace atl::api
