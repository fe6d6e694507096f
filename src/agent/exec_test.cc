// SPDX-License-Identifier: Apache-2.0
#include "protocol/exec.h"

#include <csignal>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

class ExecTest : public AgentTest {
 protected:
  static protocol::Exec Script(const std::string& script) {
    protocol::Spawn shell = Shell(script);
    return {.argv = shell.argv, .env = shell.env, .cwd = shell.cwd};
  }

  struct Ended {
    std::string out;
    protocol::Usage usage;
    std::optional<protocol::Exited> exited;
  };
  static Ended Follow(Client* client) {
    Ended ended;
    while (true) {
      auto frame = client->reader().Next();
      if (!frame || !*frame) return ended;
      if ((*frame)->type == FrameType::kStdout) ended.out += (*frame)->payload;
      if (auto usage = protocol::Expect<protocol::Usage>(**frame)) ended.usage = *usage;
      if (auto exited = protocol::Expect<protocol::Exited>(**frame)) ended.exited = *exited;
    }
  }
};

TEST_F(ExecTest, SaysWhatAProgramHasUsed) {
  Client client(Connect());
  client.Send(Script("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exit 3"));
  Ended ended = Follow(&client);
  EXPECT_EQ(ended.out, "done\n");
  EXPECT_EQ(ended.exited, (protocol::Exited{.exit_code = 3}));
  EXPECT_GT(ended.usage.cpu_us, 1000U);
  EXPECT_GT(ended.usage.max_rss_bytes, 100'000U);
  EXPECT_FALSE(ended.usage.timed_out);
}

TEST_F(ExecTest, EndsWhatHasNoMoreTime) {
  protocol::Exec request = Script("echo on; sleep 100");
  request.timeout_ms = 100;
  Client client(Connect());
  client.Send(request);
  Ended ended = Follow(&client);
  EXPECT_EQ(ended.out, "on\n");
  EXPECT_TRUE(ended.usage.timed_out);
  EXPECT_EQ(ended.exited, (protocol::Exited{.signal = SIGTERM}));
}

TEST_F(ExecTest, KeepsAProgramWhoseClientLeft) {
  std::string file = dir_ / "kept";
  protocol::Exec request =
      Script("echo on; head -c 3000000 /dev/zero; sleep 0.2; echo more; echo end > " + file);
  request.keep = true;
  Client client(Connect());
  client.Send(request);
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  client.Close();
  EXPECT_TRUE(Eventually([&] { return Slurp(file) == "end\n"; }));
}

TEST_F(ExecTest, AKeptProgramHasNoMoreTimeThanAnother) {
  protocol::Exec request = Script("echo $$; sleep 100");
  request.keep = true;
  request.timeout_ms = 300;
  Client client(Connect());
  client.Send(request);
  uint32_t pid = client.Expect<protocol::Started>().value().pid;
  client.Close();
  EXPECT_TRUE(Eventually([&] { return IsGone(static_cast<int>(pid)); }));
}

}  // namespace
}  // namespace atl::agent
