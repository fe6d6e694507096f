// SPDX-License-Identifier: Apache-2.0
#include <csignal>

#include "agent/agent_fixture_test.h"
#include "protocol/exec.h"

namespace atl::agent {
namespace {

using protocol::ProcessInfo;
using protocol::ProcessStatus;

class ProcessTableTest : public AgentTest {
 protected:
  void SetUp() override { StartAgent({"--log-dir", "/tmp/atoll-process-log-" + Suffix()}); }
  void TearDown() override {
    AgentTest::TearDown();
    std::filesystem::remove_all("/tmp/atoll-process-log-" + Suffix());
  }
  static std::string Suffix() { return std::to_string(getpid()); }

  Result<ProcessInfo> Start(const std::string& id, const std::string& script,
                            protocol::Restart restart = protocol::Restart::kNever) {
    protocol::Spawn shell = Shell(script);
    Client client(Connect());
    return client.Ask<ProcessInfo>(protocol::ProcessStart{
        .id = id, .argv = shell.argv, .env = shell.env, .cwd = "/", .restart = restart});
  }
  // Waits for its end.
  Result<ProcessInfo> End(const std::string& id) {
    Client client(Connect());
    return client.Ask<ProcessInfo>(protocol::ProcessLogs{.id = id, .follow = true});
  }
  std::string Output(const std::string& id, bool err) {
    Client client(Connect());
    client.Send(protocol::ProcessLogs{.id = id, .limit = ~0ULL});
    std::string output;
    while (auto chunk = client.Expect<protocol::LogChunk>()) {
      if (chunk->err == err) output += chunk->data;
    }
    return output;
  }
};

TEST_F(ProcessTableTest, KeepsTheStreamsApart) {
  ASSERT_TRUE(Start("p", "echo out; echo err >&2; exit 3").has_value());
  auto end = End("p");
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(end->status, ProcessStatus::kExited);
  EXPECT_EQ(end->exited, (protocol::Exited{.exit_code = 3}));
  EXPECT_EQ(Output("p", false), "out\n");
  EXPECT_EQ(Output("p", true), "err\n");
  EXPECT_EQ(End("none").error().reason, "PROCESS_NOT_FOUND");
  EXPECT_EQ(Start("../p", "true").error().reason, "VALIDATION_FAILED");
}

TEST_F(ProcessTableTest, StopsWhatIgnoresIt) {
  ASSERT_TRUE(Start("p", "trap '' TERM; echo on; while :; do sleep 1; done").has_value());
  EXPECT_EQ(Start("p", "true").error().reason, "PROCESS_ALREADY_EXISTS");
  EXPECT_TRUE(Eventually([&] { return Output("p", false) == "on\n"; }));
  Client client(Connect());
  EXPECT_TRUE(
      client.Ask<protocol::Ok>(protocol::ProcessStop{.id = "p", .grace_ms = 100}).has_value());
  auto end = End("p");
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->status, ProcessStatus::kKilled);
  EXPECT_EQ(end->exited.signal, SIGKILL);
}

TEST_F(ProcessTableTest, StartsAgainUntilItIsStopped) {
  ASSERT_TRUE(Start("p", "echo run", protocol::Restart::kAlways).has_value());
  EXPECT_TRUE(Eventually([&] { return Output("p", false).starts_with("run\nrun\n"); }));
  Client client(Connect());
  EXPECT_TRUE(client.Ask<protocol::Ok>(protocol::ProcessStop{}).has_value());
  EXPECT_EQ(End("p")->status, ProcessStatus::kKilled);
}

TEST_F(ProcessTableTest, ManyLeaveABoundedTrace) {
  for (int i = 0; i < 1100; ++i) {
    ASSERT_TRUE(Start("p" + std::to_string(i), "true").has_value()) << i;
    if (i % 50 == 0) (void)End("p" + std::to_string(i));
  }
  ASSERT_TRUE(End("p1099").has_value());
  Client client(Connect());
  client.Send(protocol::ProcessList{});
  size_t count = 0;
  while (client.Expect<ProcessInfo>()) ++count;
  EXPECT_LE(count, 1020U);
  EXPECT_GE(count, 900U);
  EXPECT_EQ(End("p0").error().reason, "PROCESS_NOT_FOUND");
  EXPECT_LT(AgentFds(), 60U);
}

}  // namespace
}  // namespace atl::agent
