// SPDX-License-Identifier: Apache-2.0
#include "agent/agent_fixture_test.h"
#include "protocol/exec.h"

namespace atl::agent {
namespace {

class SessionTest : public AgentTest {
 protected:
  void Open(const std::string& id) {
    Client client(Connect());
    auto info = client.Ask<protocol::SessionInfo>(protocol::SessionOpen{
        .id = id, .env = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}}, .cwd = "/"});
    ASSERT_TRUE(info.has_value()) << info.error().message;
  }

  struct Ran {
    std::string out;
    std::string err;
    std::optional<int> status;
    bool timed_out = false;
    protocol::Usage usage;
    std::string reason;
  };
  Ran Run(protocol::SessionExec request) {
    Client client(Connect());
    client.Send(request);
    Ran ran;
    while (true) {
      auto frame = client.reader().Next();
      if (!frame || !*frame) return ran;
      std::string_view payload = (*frame)->payload;
      if ((*frame)->type == FrameType::kStdout) ran.out += payload;
      if ((*frame)->type == FrameType::kStderr) ran.err += payload;
      if (auto usage = protocol::Expect<protocol::Usage>(**frame)) {
        ran.usage = *usage;
        ran.timed_out = usage->timed_out;
      }
      if (auto exited = protocol::Expect<protocol::Exited>(**frame)) ran.status = exited->exit_code;
      if ((*frame)->type == FrameType::kError)
        ran.reason = protocol::UnexpectedFrame(**frame).reason;
    }
  }
  Ran Run(const std::string& command) { return Run({.id = "s", .command = command}); }
};

TEST_F(SessionTest, WhatACommandChangesLasts) {
  Open("s");
  EXPECT_EQ(Run("cd /usr; X='a b'; f() { echo \"f $X\"; }; (exit 4)").status, 4);
  EXPECT_EQ(Run("echo $?; pwd; f").out, "4\n/usr\nf a b\n");
  Ran bytes = Run("printf 'a\\0\\377'; printf 'e\\n\\n' >&2");
  EXPECT_EQ(bytes.out, std::string("a\0\377", 3));
  EXPECT_EQ(bytes.err, "e\n\n");
}

TEST_F(SessionTest, ACommandThatIsGivenUpHasNotBeen) {
  Open("s");
  Run("X=kept");
  Ran late =
      Run({.id = "s", .command = "X=lost; echo on; sleep 100; echo more", .timeout_ms = 200});
  EXPECT_TRUE(late.timed_out);
  EXPECT_EQ(late.out, "on\n");
  EXPECT_EQ(Run("echo $X").out, "kept\n");
  Client client(Connect());
  client.Send(protocol::SessionExec{.id = "s", .command = "X=lost; while :; do :; done"});
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  client.Close();
  EXPECT_EQ(Run("echo $X").out, "kept\n");
}

// Processor time of 300 ms, by the command's own measure, without and with a program for it.
constexpr const char* kBurn =
    "burn() { for ((;;)); do for ((i = 0; i < 2000; ++i)); do :; done; "
    "read -r _ _ _ _ _ _ _ _ _ _ _ _ _ u _ < /proc/$BASHPID/stat; "
    "((u > ${base:-0} + 30)) && break; done; }; "
    "read -r _ _ _ _ _ _ _ _ _ _ _ _ _ base _ < /proc/$BASHPID/stat; ";

TEST_F(SessionTest, UsageIsOfTheCommandAlone) {
  Open("s");
  EXPECT_GE(Run(std::string(kBurn) + "burn").usage.cpu_us, 250'000U);
  EXPECT_GE(Run("(base=0; burn)").usage.cpu_us, 250'000U);
  Ran late = Run({.id = "s", .command = "(while :; do :; done)", .timeout_ms = 700});
  EXPECT_TRUE(late.timed_out);
  EXPECT_GE(late.usage.cpu_us, 50'000U);
  Ran little = Run("sleep 0.01");
  EXPECT_LT(little.usage.cpu_us, 250'000U);
  EXPECT_GT(little.usage.cpu_us, 0U);
}

TEST_F(SessionTest, PeaksOfMemoryAreSeen) {
  Open("s");
  uint64_t usual = Run(":").usage.max_rss_bytes;
  EXPECT_GT(usual, 1U << 20U);
  EXPECT_LT(usual, 32U << 20U);
  // In a program, which has it for a while, and in the shell itself.
  Ran program = Run("bash -c 'x=$(printf \"%64000000s\" x); sleep 4; :'");
  EXPECT_GT(program.usage.max_rss_bytes, 60'000'000U);
  EXPECT_GT(Run("printf -v x '%64000000s' x").usage.max_rss_bytes, 60'000'000U);
  Run("unset x");
  EXPECT_LT(Run(":").usage.max_rss_bytes, 60'000'000U);
}

TEST_F(SessionTest, ExitEndsItAndTheNextIsFresh) {
  Open("s");
  Run("X=1");
  EXPECT_EQ(Run("exit 3").reason, "SESSION_TERMINATED");
  EXPECT_EQ(Run("echo ${X-fresh}").out, "fresh\n");
}

TEST_F(SessionTest, LeavesNothingBehind) {
  auto shells = [] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      count += entry.path().filename().string().starts_with(".atoll-shell-") ? 1 : 0;
    }
    return count;
  };
  size_t before = shells();
  size_t fds = AgentFds();
  for (int i = 0; i < 10; ++i) {
    Open("s");
    Run("sleep 100 & echo $!");
    Client client(Connect());
    EXPECT_TRUE(client.Ask<protocol::Ok>(protocol::SessionClose{.id = "s"}).has_value());
  }
  EXPECT_LE(shells(), before);
  EXPECT_TRUE(Eventually([&] { return AgentFds() <= fds + 2; }));
  EXPECT_EQ(Run("true").reason, "SESSION_NOT_FOUND");
}

}  // namespace
}  // namespace atl::agent
