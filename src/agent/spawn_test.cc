// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

class SpawnTest : public AgentTest {
 protected:
  Outcome Run(const protocol::Spawn& request) {
    Client client(Connect());
    client.Send(request);
    return Collect(&client);
  }
};

TEST_F(SpawnTest, StreamsBothOutputsAndTheExitCode) {
  Outcome outcome = Run(Shell("echo \"$GREETING\"; echo oops >&2; pwd; exit 7"));
  EXPECT_EQ(outcome.out, "hi there\n/\n");
  EXPECT_EQ(outcome.err, "oops\n");
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->exit_code, 7);
  EXPECT_EQ(outcome.exited->signal, 0);
}

TEST_F(SpawnTest, HelloSaysVersionAndWayOfDialling) {
  Client one(Connect());
  Client two(Connect());
  EXPECT_EQ(one.hello().version, protocol::kVersion);
  EXPECT_EQ(one.hello().dial_mode, protocol::DialMode::kDescriptor);
  EXPECT_EQ(one.hello().pid, static_cast<uint32_t>(agent_));
  EXPECT_EQ(one.hello().boot_id.size(), 32U);
  EXPECT_EQ(one.hello().boot_id, two.hello().boot_id);
}

TEST_F(SpawnTest, ASignalIsReportedAsOne) {
  Outcome outcome = Run(Shell("kill -TERM $$"));
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->signal, SIGTERM);
}

TEST_F(SpawnTest, StdinArrivesAndEnds) {
  Client client(Connect());
  protocol::Spawn request = Shell("cat; echo done");
  request.want_stdin = true;
  client.Send(request);
  std::string big(3U << 20U, 'i');
  std::thread feeder([&] {
    for (size_t at = 0; at < big.size(); at += 100'000) {
      std::string_view piece = std::string_view(big).substr(at, 100'000);
      ASSERT_TRUE(client.SendData(FrameType::kStdin, piece).has_value());
    }
    client.SendEmpty(FrameType::kStdinEnd);
  });
  Outcome outcome = Collect(&client);
  feeder.join();
  EXPECT_EQ(outcome.out, big + "done\n");
}

TEST_F(SpawnTest, WithoutStdinAProgramReadsTheEnd) {
  Outcome outcome = Run(Shell("cat; echo done"));
  EXPECT_EQ(outcome.out, "done\n");
}

TEST_F(SpawnTest, TheClientCanSignal) {
  Client client(Connect());
  client.Send(Shell("trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.01; done"));
  auto started = client.Expect<protocol::Started>();
  auto ready = client.reader().Next();
  ASSERT_TRUE(started && ready && *ready);
  client.Send(protocol::SignalProcess{.signo = SIGINT});
  Outcome outcome = Collect(&client);
  EXPECT_EQ(outcome.out, "got\n");
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->exit_code, 3);
}

TEST_F(SpawnTest, WhatCannotStartIsSaidClearly) {
  auto missing = Run({.argv = {"no-such-command"}, .cwd = "/"});
  ASSERT_TRUE(missing.error.has_value());
  EXPECT_EQ(missing.error->reason, "COMMAND_NOT_FOUND");
  EXPECT_EQ(missing.error->code, Code::kNotFound);
  auto refused = Run({.argv = {"/etc/passwd"}, .cwd = "/"});
  ASSERT_TRUE(refused.error.has_value());
  EXPECT_EQ(refused.error->reason, "COMMAND_PERMISSION_DENIED");
  auto nowhere = Run({.argv = {"true"}, .cwd = "/no/such/dir"});
  ASSERT_TRUE(nowhere.error.has_value());
  EXPECT_EQ(nowhere.error->code, Code::kInvalidArgument);
  EXPECT_EQ(nowhere.error->reason, "VALIDATION_FAILED");
  EXPECT_NE(nowhere.error->message.find("/no/such/dir"), std::string::npos);
  auto nothing = Run({.argv = {}, .cwd = "/"});
  ASSERT_TRUE(nothing.error.has_value());
  EXPECT_EQ(nothing.error->code, Code::kInvalidArgument);
  auto bad_env = Run({.argv = {"true"}, .env = {{"A=B", "c"}}, .cwd = "/"});
  EXPECT_TRUE(bad_env.error.has_value());
}

TEST_F(SpawnTest, AProgramGetsACleanStart) {
  Outcome outcome =
      Run(Shell("echo $(ls /proc/self/fd | wc -w); umask; grep -E 'Sig(Blk|Ign)' /proc/self/status;"
                "test $$ = $(cut -d' ' -f6 /proc/$$/stat) && echo session"));
  // 0, 1, 2 and the directory that ls has open.
  EXPECT_EQ(outcome.out,
            "4\n0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nsession\n");
}

TEST_F(SpawnTest, ProgramsRunAsWhomTheRequestSays) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  protocol::Spawn request = Shell("id -u; id -g; id -G");
  request.uid = 65534;
  request.gid = 65533;
  EXPECT_EQ(Run(request).out, "65534\n65533\n65533\n");
}

TEST_F(SpawnTest, ClosingTheConnectionEndsTheGroupAndTheSession) {
  std::string pids = (dir_ / "pids").string();
  Client client(Connect());
  // One in the group; with job control, one in a group of its own in the same session.
  protocol::Spawn request = Shell("sleep 1000 & echo $! >> " + pids + "; echo $$ >> " + pids +
                                  "; set -m; sleep 1001 & echo $! >> " + pids +
                                  "; ps -o pgid= -p $! | tr -d ' '; echo $!; wait");
  request.argv[0] = "bash";
  client.Send(request);
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  std::string out;
  while (std::count(out.begin(), out.end(), '\n') < 2) {
    auto frame = client.reader().Next();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    if ((*frame)->type == FrameType::kStdout) out += (*frame)->payload;
  }
  ASSERT_EQ(out.substr(0, out.find('\n')), out.substr(out.find('\n') + 1, out.find('\n')))
      << "it has no group of its own";
  client.Close();
  std::ifstream in(pids);
  int count = 0;
  for (int pid = 0; in >> pid; ++count) {
    EXPECT_TRUE(Eventually([&] { return IsGone(pid); })) << pid;
  }
  EXPECT_EQ(count, 3);
}

TEST_F(SpawnTest, WhoeverOutlivesASignalledLeaderIsKilled) {
  for (const char* first : {"sh", "bash"}) {
    Client client(Connect());
    // The shell ends on SIGTERM, its children do not.
    protocol::Spawn request = Shell("(trap '' TERM; echo ready; exec sleep 1000) & echo $!; wait");
    request.argv[0] = first;
    client.Send(request);
    auto started = client.Expect<protocol::Started>();
    ASSERT_TRUE(started.has_value());
    std::string out;
    while (std::count(out.begin(), out.end(), '\n') < 2) {
      auto frame = client.reader().Next();
      ASSERT_TRUE(frame.has_value() && frame->has_value());
      out += (*frame)->payload;
    }
    int child = std::atoi(out.c_str() + (out[0] == 'r' ? 6 : 0));
    ASSERT_GT(child, 1);
    Client other(Connect());
    EXPECT_TRUE(other
                    .Ask<protocol::Ok>(
                        protocol::Signal{.pid = started->pid, .signo = SIGTERM, .group = true})
                    .has_value());
    auto begin = std::chrono::steady_clock::now();
    Outcome outcome = Collect(&client);
    ASSERT_TRUE(outcome.exited.has_value());
    EXPECT_EQ(outcome.exited->signal, SIGTERM);
    EXPECT_TRUE(Eventually([&] { return IsGone(child); }));
    EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  }
}

TEST_F(SpawnTest, ASignalThatIsObeyedByAllDoesNotDelayTheAnswer) {
  Client client(Connect());
  client.Send(Shell("sleep 1000 & sleep 1001 & echo ready; wait"));
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  ASSERT_TRUE(client.reader().Next().has_value());
  client.Send(protocol::SignalProcess{.signo = SIGTERM});
  auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(Collect(&client).exited.has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
}

TEST_F(SpawnTest, TheGracePeriodLetsAProgramTidyUp) {
  std::filesystem::path note = dir_ / "note";
  Client client(Connect());
  protocol::Spawn request =
      Shell("trap 'echo bye > " + note.string() + "; exit' TERM; echo ready; sleep 1000 & wait");
  request.kill_grace_ms = 5000;
  client.Send(request);
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  ASSERT_TRUE(client.reader().Next().has_value());
  client.Close();
  EXPECT_TRUE(Eventually([&] { return Slurp(note) == "bye\n"; }));
}

TEST_F(SpawnTest, ABackgroundChildThatHoldsThePipeDoesNotHoldTheAnswer) {
  auto begin = std::chrono::steady_clock::now();
  Outcome outcome = Run(Shell("sleep 20 & echo $!"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  ASSERT_TRUE(outcome.exited.has_value());
  int background = std::atoi(outcome.out.c_str());
  EXPECT_FALSE(IsGone(background));
  kill(background, SIGKILL);
}

TEST_F(SpawnTest, ASlowReaderBlocksTheProgramAndCostsNoMemory) {
  Client client(Connect());
  client.Send(Shell("exec cat /dev/zero"));
  ASSERT_TRUE(client.Expect<protocol::Started>().has_value());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(AgentRssKb(agent_), 6000);
  // Even now the client is heard.
  client.Send(protocol::SignalProcess{.signo = SIGKILL});
  Outcome outcome = Collect(&client);
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->signal, SIGKILL);
}

TEST_F(SpawnTest, LargeOutputArrivesWholeAndFast) {
  auto begin = std::chrono::steady_clock::now();
  Outcome outcome = Run(Shell("head -c 200000000 /dev/zero"));
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(outcome.out.size(), 200'000'000U);
  RecordProperty("mb_per_s", static_cast<int>(200 / took.count()));
  EXPECT_LT(took.count(), 20);
}

TEST_F(SpawnTest, TwoHundredAtOnceLeaveNothingBehind) {
  Run(Shell("true"));
  ASSERT_TRUE(Eventually([&] { return AgentFds() < 12; }));
  size_t before = AgentFds();
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 200; ++i) {
    threads.emplace_back([&, i] {
      Outcome outcome = Run(Shell("sleep 0.05; echo " + std::to_string(i)));
      if (outcome.out == std::to_string(i) + "\n" && outcome.exited) ++right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 200);
  EXPECT_TRUE(Eventually([&] { return AgentFds() == before; })) << AgentFds() << " " << before;
}

TEST_F(SpawnTest, AKilledSpawnerIsReplaced) {
  for (int signal : {SIGKILL, SIGSTOP, SIGTERM}) {
    ASSERT_TRUE(Eventually([&] { return SpawnerPid() > 0; }));
    kill(SpawnerPid(), signal);
    Outcome outcome;
    EXPECT_TRUE(Eventually([&] {
      outcome = Run(Shell("echo back"));
      return outcome.out == "back\n";
    })) << signal
        << (outcome.error ? outcome.error->message : "");
  }
}

// What a process of the agent's user, with its capabilities, can do to `target`: a letter for each
// door that is open.
std::string OpenDoors(pid_t target) {
  auto pipe = sys::MakePipe().value();
  pid_t child = fork();
  if (child == 0) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> caps{};
    std::string open_doors;
    if (syscall(SYS_capget, &header, caps.data()) != 0) open_doors += "?";
    for (int capability : kSeeAll) {
      auto& word = caps[CAP_TO_INDEX(static_cast<unsigned>(capability))];
      word.effective &= ~CAP_TO_MASK(static_cast<unsigned>(capability));
      word.permitted &= ~CAP_TO_MASK(static_cast<unsigned>(capability));
    }
    if (syscall(SYS_capset, &header, caps.data()) != 0) open_doors += "?";
    std::string base = "/proc/" + std::to_string(target);
    if (open((base + "/mem").c_str(), O_RDONLY) >= 0) open_doors += "m";
    if (open((base + "/environ").c_str(), O_RDONLY) >= 0) open_doors += "e";
    if (open((base + "/fd/3").c_str(), O_RDONLY) >= 0) open_doors += "f";
    if (char link[64]; readlink((base + "/fd/3").c_str(), link, sizeof(link)) > 0) {
      open_doors += "l";
    }
    int pidfd = static_cast<int>(syscall(SYS_pidfd_open, target, 0));
    if (pidfd < 0) open_doors += "?";
    if (syscall(SYS_pidfd_getfd, pidfd, 3, 0) >= 0) open_doors += "g";
    if (ptrace(PTRACE_ATTACH, target, nullptr, nullptr) == 0) open_doors += "p";
    if (ptrace(PTRACE_SEIZE, target, nullptr, nullptr) == 0) open_doors += "s";
    (void)sys::WriteAll(pipe.write.get(), open_doors);
    _exit(0);
  }
  pipe.write.Reset();
  std::array<char, 64> text{};
  ssize_t size = read(pipe.read.get(), text.data(), text.size());
  waitpid(child, nullptr, 0);
  return {text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

TEST_F(SpawnTest, NeitherAgentNorSpawnerCanBeOpenedByTheirUser) {
  Run(Shell("true"));
  EXPECT_EQ(OpenDoors(agent_), "");
  EXPECT_EQ(OpenDoors(SpawnerPid()), "");
  // The same tries succeed on an ordinary program: the agent is what refuses them.
  Client client(Connect());
  client.Send(Shell("exec 3</dev/null; echo ready; sleep 1000"));
  auto started = client.Expect<protocol::Started>();
  ASSERT_TRUE(started.has_value());
  ASSERT_TRUE(client.reader().Next().has_value());
  auto pid = static_cast<pid_t>(started->pid);
  EXPECT_EQ(OpenDoors(pid), "meflgp");
}

TEST_F(SpawnTest, MalformedFramesAreRefusedAndHarmOnlyTheirConnection) {
  std::string wrong_version = protocol::EncodeFrame(FrameType::kPing, std::string("\x09\0\0\0", 4));
  std::string huge(8, '\xff');
  huge[0] = static_cast<char>(FrameType::kSpawn);
  huge[1] = huge[2] = huge[3] = 0;
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n"), wrong_version, huge,
        protocol::EncodeFrame(FrameType::kSpawn, "xx"), protocol::EncodeFrame(FrameType::kStdin),
        protocol::EncodeFrame(FrameType::kHello)}) {
    Client client(Connect());
    ASSERT_TRUE(protocol::SendBytes(client.fd(), bytes).has_value());
    Outcome outcome = Collect(&client);
    EXPECT_TRUE(outcome.error.has_value());
  }
  Client client(Connect());
  EXPECT_TRUE(client.Ask<protocol::Ok>(protocol::Ping{}).has_value());
}

TEST_F(SpawnTest, TooManyConnectionsAreRefusedNotQueued) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 512; ++i) clients.push_back(std::make_unique<Client>(Connect()));
  Client one_more(Connect());
  auto answer = one_more.Expect<protocol::Ok>();
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, Code::kResourceExhausted);
  clients.clear();
  EXPECT_TRUE(Eventually([&] {
    Client client(Connect());
    return protocol::Send(client.fd(), protocol::Ping{}) &&
           client.Expect<protocol::Ok>().has_value();
  }));
}

TEST_F(SpawnTest, AnIdleAgentIsSmall) {
  Run(Shell("true"));
  // Its own. The rest is the program's file, which all sandboxes share and of which the kernel maps
  // more than is used.
  EXPECT_LT(AgentRssKb(agent_, "RssAnon:"), 256);
  EXPECT_LT(AgentRssKb(SpawnerPid(), "RssAnon:"), 256);
  EXPECT_LT(AgentRssKb(agent_), 3072);
  EXPECT_LT(AgentRssKb(SpawnerPid()), 3072);
}

}  // namespace
}  // namespace atl::agent
