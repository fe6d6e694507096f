// SPDX-License-Identifier: Apache-2.0
#include "protocol/messages.h"

#include <gtest/gtest.h>

#include "protocol/ports.h"
#include "protocol/terminal.h"

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
  EXPECT_EQ((*frame)->type, M::kType);
  auto decoded = Expect<M>(**frame);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(*decoded, message);
  // Every shorter payload is refused, and so is a longer one.
  std::string payload((*frame)->payload);
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_FALSE(Decode<M>(std::string_view(payload).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(Decode<M>(payload + "x").has_value());
}

TEST(MessagesTest, EveryMessageSurvivesTheWire) {
  ExpectRoundTrip(Hello{.version = 7, .dial_mode = DialMode::kRelay, .pid = 1, .boot_id = "b"});
  ExpectRoundTrip(Spawn{.argv = {"bash", "-c", std::string("a\0b", 3)},
                        .env = {{"A", "1"}, {"B", ""}},
                        .cwd = "/workspace",
                        .uid = 1000,
                        .gid = 0xffffffff,
                        .want_stdin = true,
                        .detached = true,
                        .name = "opencode",
                        .ring_bytes = 4096,
                        .kill_grace_ms = 5});
  ExpectRoundTrip(Attach{.name = "opencode", .offset = 0xfedcba9876543210});
  ExpectRoundTrip(ListProcesses{});
  ExpectRoundTrip(Signal{.name = "n", .pid = 9, .signo = 15, .group = true});
  ExpectRoundTrip(Dial{.port = 4096});
  ExpectRoundTrip(Ping{});
  ExpectRoundTrip(ListPorts{});
  ExpectRoundTrip(DialPath{.path = "/run/a"});
  ExpectRoundTrip(Ports{.ports = {{.address = "::",
                                   .port = 65535,
                                   .pid = 7,
                                   .name = "node",
                                   .argv = {"node", "server.js"}}},
                        .complete = true});
  ExpectRoundTrip(Park{});
  ExpectRoundTrip(BecomeCopy{});
  ExpectRoundTrip(Configure{.hostname = "h", .former = "f", .env = {{"A", "b"}}});
  ExpectRoundTrip(SignalProcess{.signo = -1});
  ExpectRoundTrip(Started{.pid = 77});
  ExpectRoundTrip(Exited{.exit_code = 3, .signal = 9});
  ExpectRoundTrip(End{.files = 1, .bytes = 1ULL << 40U, .skipped = 2});
  ExpectRoundTrip(Processes{.processes = {{.name = "a",
                                           .pid = 5,
                                           .running = false,
                                           .exited = {.exit_code = 1},
                                           .output_begin = 10,
                                           .output_end = 20},
                                          {.name = "b", .pid = 6, .running = true}}});
  ExpectRoundTrip(Attached{.pid = 5, .offset = 10});
  ExpectRoundTrip(OpenTerminal{.name = "t",
                               .create = false,
                               .offset = 1,
                               .cols = 132,
                               .rows = 50,
                               .argv = {"bash"},
                               .env = {{"TERM", "xterm"}},
                               .cwd = "/",
                               .uid = 1,
                               .gid = 2,
                               .linger_ms = 3});
  ExpectRoundTrip(ListTerminals{});
  ExpectRoundTrip(CloseTerminal{.name = "t"});
  ExpectRoundTrip(ResizeTerminal{.cols = 1, .rows = 2});
  ExpectRoundTrip(TerminalOpened{.pid = 3, .created = true, .offset = 4});
  ExpectRoundTrip(TerminalSkipped{.bytes = 5});
  ExpectRoundTrip(Terminals{.terminals = {{.name = "t",
                                           .command = "bash",
                                           .pid = 9,
                                           .running = false,
                                           .exited = {.exit_code = 1},
                                           .cols = 2,
                                           .rows = 3,
                                           .viewers = 4,
                                           .age_ms = 5}}});
  ExpectRoundTrip(Dialed{.mode = DialMode::kRelay});
  ExpectRoundTrip(Ok{});
  ExpectRoundTrip(Failure{
      .code = Code::kNotFound, .reason = "FILE_NOT_FOUND", .sys_errno = 2, .message = "no"});
}

TEST(MessagesTest, AFailureArrivesAsTheErrorItWas) {
  Error error{.code = Code::kNotFound, .message = "m", .reason = "R", .sys_errno = 2};
  auto bytes = Encode(ToFailure(error));
  ASSERT_TRUE(bytes.has_value());
  FrameParser parser;
  parser.Feed(*bytes);
  auto frame = parser.Next();
  auto started = Expect<Started>(**frame);
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code, Code::kNotFound);
  EXPECT_EQ(started.error().reason, "R");
  EXPECT_EQ(started.error().sys_errno, 2);
}

TEST(MessagesTest, AnotherVersionIsSaidToBeOne) {
  Writer writer;
  writer.U32(kVersion + 1);
  auto ping = Decode<Ping>(std::move(writer).Take());
  ASSERT_FALSE(ping.has_value());
  EXPECT_EQ(ping.error().code, Code::kFailedPrecondition);
  EXPECT_NE(ping.error().message.find("version"), std::string::npos);
  EXPECT_TRUE(IsUnknownRequest(ping.error()));
}

// What agents of version 1 compare for equality.
TEST(MessagesTest, ARequestSaysTheVersionOfItsLayout) {
  auto bytes = Encode(Ping{});
  ASSERT_TRUE(bytes.has_value());
  Reader reader(std::string_view(*bytes).substr(kHeaderBytes));
  EXPECT_EQ(reader.U32(), 1U);
}

TEST(MessagesTest, RequestsOfEveryVersionSinceTheOldestAreTaken) {
  for (uint32_t version = kOldestVersion; version <= kVersion; ++version) {
    Writer writer;
    writer.U32(version);
    EXPECT_TRUE(Decode<Ping>(std::move(writer).Take()).has_value()) << version;
  }
  Writer writer;
  writer.U32(kOldestVersion - 1);
  EXPECT_FALSE(Decode<Ping>(std::move(writer).Take()).has_value());
}

TEST(MessagesTest, AgentsOfOtherReleasesAreSpokenWith) {
  EXPECT_TRUE(CheckAgentVersion(kOldestVersion).has_value());
  EXPECT_TRUE(CheckAgentVersion(kVersion + 1).has_value());
  auto refused = CheckAgentVersion(kOldestVersion - 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, "AGENT_TOO_OLD");
}

TEST(MessagesTest, RefusesCountsBooleansAndEnumsThatCannotBe) {
  Writer list;
  list.U32(0x40000000);
  EXPECT_FALSE(Decode<Processes>(std::move(list).Take()).has_value());
  EXPECT_FALSE(Decode<Dialed>("\x02").has_value());
  Writer failure;
  failure.U8(200);
  failure.String("");
  failure.I32(0);
  failure.String("");
  EXPECT_FALSE(Decode<Failure>(std::move(failure).Take()).has_value());
  Writer process;
  process.U32(1);
  process.String("n");
  process.U32(1);
  process.U8(2);  // running
  process.U64(0);
  process.U64(0);
  process.U64(0);
  EXPECT_FALSE(Decode<Processes>(std::move(process).Take()).has_value());
}

TEST(MessagesTest, AMessageThatFitsNoFrameIsNotEncoded) {
  auto bytes = Encode(Spawn{.argv = {std::string(kMaxControlBytes, 'x')}});
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace atl::protocol
