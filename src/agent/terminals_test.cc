// SPDX-License-Identifier: Apache-2.0
#include "agent/terminals.h"

#include <vector>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

using protocol::OpenTerminal;
using protocol::TerminalOpened;

class TerminalsTest : public AgentTest {
 protected:
  static OpenTerminal Request(const std::string& name, const std::string& script) {
    return {.name = name,
            .argv = {"sh", "-c", script},
            .env = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"TERM", "xterm-256color"}},
            .cwd = "/"};
  }

  protocol::Terminals List() {
    return Client(Connect()).Ask<protocol::Terminals>(protocol::ListTerminals{}).value();
  }
};

// A client at a terminal.
class View {
 public:
  View(sys::Fd socket, const OpenTerminal& request) : client_(std::move(socket)) {
    client_.Send(request);
    auto opened = client_.Expect<TerminalOpened>();
    if (opened) opened_ = *opened;
    if (!opened) error_ = opened.error();
  }

  // Output up to where `text` appears in it; what came is in `output`.
  bool Until(const std::string& text) {
    while (output.find(text) == std::string::npos) {
      if (Take()) continue;
      ADD_FAILURE() << text << " did not come, but " << output;
      return false;
    }
    return true;
  }
  bool UntilReplayed() {
    while (!replayed) {
      if (!Take()) return false;
    }
    return true;
  }
  void UntilEnd() {
    while (Take()) {
    }
  }
  // Waits for output that comes now, without what came before.
  bool Type(const std::string& keys, const std::string& until) {
    output.clear();
    EXPECT_TRUE(client_.SendData(FrameType::kStdin, keys).has_value());
    return Until(until);
  }
  void Resize(uint32_t cols, uint32_t rows) {
    client_.Send(protocol::ResizeTerminal{.cols = cols, .rows = rows});
  }

  const TerminalOpened& opened() const { return opened_; }
  const std::optional<Error>& error() const { return error_; }
  Client& client() { return client_; }

  std::string output;
  uint64_t received = 0;
  uint64_t skipped = 0;
  bool replayed = false;
  std::optional<protocol::Exited> exited;

 private:
  bool Take() {
    auto frame = client_.reader().Next();
    if (!frame || !*frame) return false;
    std::string_view payload = (*frame)->payload;
    switch ((*frame)->type) {
      case FrameType::kStdout:
        output += payload;
        received += payload.size();
        return true;
      case FrameType::kTerminalReplayed:
        replayed = true;
        return true;
      case FrameType::kTerminalSkipped:
        skipped += protocol::Decode<protocol::TerminalSkipped>(payload).value().bytes;
        return true;
      case FrameType::kExited:
        exited = protocol::Decode<protocol::Exited>(payload).value();
        return true;
      default:
        ADD_FAILURE() << "unexpected frame " << static_cast<int>((*frame)->type);
        return false;
    }
  }

  Client client_;
  TerminalOpened opened_;
  std::optional<Error> error_;
};

TEST_F(TerminalsTest, AProgramHasATerminalOfTheSizeThatWasAskedFor) {
  OpenTerminal request =
      Request("t", "tty; stty size; echo $TERM; test -t 1 && echo is-tty; exit 3");
  request.cols = 132;
  request.rows = 43;
  View view(Connect(), request);
  EXPECT_TRUE(view.opened().created);
  view.UntilEnd();
  EXPECT_NE(view.output.find("/dev/pts/"), std::string::npos) << view.output;
  EXPECT_NE(view.output.find("43 132"), std::string::npos) << view.output;
  EXPECT_NE(view.output.find("xterm-256color"), std::string::npos);
  EXPECT_NE(view.output.find("is-tty"), std::string::npos);
  EXPECT_TRUE(view.replayed);
  ASSERT_TRUE(view.exited.has_value());
  EXPECT_EQ(view.exited->exit_code, 3);
}

TEST_F(TerminalsTest, KeysAreSignalsAndTheShellGoesOn) {
  OpenTerminal request = Request("t", "");
  request.argv = {"bash", "--norc", "-i"};
  request.env.emplace_back("PS1", "ready> ");
  View view(Connect(), request);
  ASSERT_TRUE(view.Until("ready> "));
  ASSERT_TRUE(view.Type("sh -c 'echo be\"\"fore; exec sleep 1000'\r", "before\r\n"));
  ASSERT_TRUE(view.Type("\x03", "ready> "));
  // Job control: a stopped program comes back into the foreground.
  ASSERT_TRUE(view.Type("sh -c 'echo u\"\"p; exec cat'\r", "up\r\n"));
  ASSERT_TRUE(view.Type("\x1a", "Stopped"));
  ASSERT_TRUE(view.Type("fg\r", "exec cat'\r\n"));
  ASSERT_TRUE(view.Type("line\r", "line\r\nline\r\n"));
  ASSERT_TRUE(view.Type("\x04", "ready> "));
  ASSERT_TRUE(view.Type("trap 'stty size' WINCH; echo tr''apped\r", "trapped"));
  view.Resize(99, 33);
  ASSERT_TRUE(view.Type("\r", "33 99"));
  view.client().SendData(FrameType::kStdin, "exit 7\r").value();
  view.UntilEnd();
  ASSERT_TRUE(view.exited.has_value());
  EXPECT_EQ(view.exited->exit_code, 7);
}

TEST_F(TerminalsTest, WhoJoinsSeesWhatWasThereAndThenWhatComes) {
  View first(Connect(), Request("t", "echo one; read line; echo got $line; read line; exit 0"));
  ASSERT_TRUE(first.Until("one\r\n"));
  View second(Connect(), Request("t", "exit 1"));
  EXPECT_FALSE(second.opened().created);
  EXPECT_EQ(second.opened().pid, first.opened().pid);
  ASSERT_TRUE(second.UntilReplayed());
  EXPECT_EQ(second.output, "one\r\n");
  ASSERT_TRUE(second.Type("hello\r", "got hello"));
  ASSERT_TRUE(first.Until("got hello"));
  auto list = List();
  ASSERT_EQ(list.terminals.size(), 1U);
  EXPECT_EQ(list.terminals[0].viewers, 2U);
  EXPECT_TRUE(list.terminals[0].running);

  // Everybody leaves; it goes on, and a client that knows how far it was gets the rest alone.
  uint64_t offset = first.opened().offset + first.received;
  first.client().Close();
  second.client().Close();
  EXPECT_TRUE(Eventually([&] { return List().terminals[0].viewers == 0; }));
  OpenTerminal again = Request("t", "");
  again.create = false;
  again.offset = offset;
  View third(Connect(), again);
  EXPECT_EQ(third.opened().offset, offset);
  ASSERT_TRUE(third.Type("\r", "\r\n"));
  third.UntilEnd();
  EXPECT_EQ(third.exited->exit_code, 0);
  EXPECT_EQ(third.output.find("one"), std::string::npos);

  // One that has ended can still be looked at, and its name is free.
  again.offset = 0;
  View late(Connect(), again);
  late.UntilEnd();
  EXPECT_EQ(late.output.substr(0, 5), "one\r\n");
  ASSERT_TRUE(late.exited.has_value());
  View fresh(Connect(), Request("t", "exit 5"));
  EXPECT_TRUE(fresh.opened().created);
  fresh.UntilEnd();
  EXPECT_EQ(fresh.exited->exit_code, 5);
}

TEST_F(TerminalsTest, OneThatIsNotThereIsNotMadeUnlessWanted) {
  OpenTerminal request = Request("nobody", "true");
  request.create = false;
  View view(Connect(), request);
  ASSERT_TRUE(view.error().has_value());
  EXPECT_EQ(view.error()->reason, "TERMINAL_NOT_FOUND");
  OpenTerminal missing = Request("t", "");
  missing.argv = {"no-such-program"};
  View failed(Connect(), missing);
  ASSERT_TRUE(failed.error().has_value());
  EXPECT_EQ(failed.error()->reason, "COMMAND_NOT_FOUND");
  EXPECT_TRUE(List().terminals.empty());
}

TEST_F(TerminalsTest, ASlowViewerMissesSomethingAndHoldsUpNobody) {
  constexpr size_t kBytes = 8U << 20U;
  View slow(Connect(),
            Request("t",
                    "stty -opost -echo; read go; head -c 8388608 /dev/zero | tr '\\0' x; "
                    "printf DONE; read go; exit 0"));
  View fast(Connect(), Request("t", ""));
  // The slow one reads nothing from here on.
  ASSERT_TRUE(fast.Type("\r", "DONE"));
  EXPECT_EQ(fast.skipped, 0U);
  EXPECT_GE(fast.received, kBytes);
  ASSERT_TRUE(slow.Until("DONE"));
  EXPECT_GT(slow.skipped, 0U);
  EXPECT_EQ(slow.skipped + slow.opened().offset + slow.received,
            fast.opened().offset + fast.received);
}

TEST_F(TerminalsTest, WithoutViewersAProgramRunsFreely) {
  auto done = (dir_ / "done").string();
  {
    View view(Connect(),
              Request("t", "head -c 4194304 /dev/zero; echo > " + done + "; sleep 1000"));
  }
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(done); }));
  // And one that nobody takes anything for waits only for a moment.
  auto other = (dir_ / "other").string();
  View view(Connect(), Request("u", "head -c 4194304 /dev/zero; echo > " + other + "; sleep 1000"));
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(other); }, std::chrono::seconds(30)));
}

TEST_F(TerminalsTest, AFloodIsEndedByAKey) {
  View view(Connect(), Request("t", "trap 'exit 9' INT; while :; do echo flood; done"));
  ASSERT_TRUE(view.Until("flood"));
  ASSERT_TRUE(view.client().SendData(FrameType::kStdin, "\x03").has_value());
  view.UntilEnd();
  ASSERT_TRUE(view.exited.has_value());
}

TEST_F(TerminalsTest, ClosingEndsWhatRunsInIt) {
  auto pids = (dir_ / "pids").string();
  View view(Connect(), Request("t", "trap '' HUP; sleep 1000 & echo $! > " + pids +
                                        "; echo started; sleep 1000; sleep 1000"));
  ASSERT_TRUE(view.Until("started"));
  int background = std::stoi(Slurp(pids));
  ASSERT_TRUE(Client(Connect()).Ask<protocol::Ok>(protocol::CloseTerminal{.name = "t"}));
  view.UntilEnd();
  ASSERT_TRUE(view.exited.has_value());
  EXPECT_TRUE(Eventually([&] { return IsGone(background); }));
  EXPECT_TRUE(List().terminals.empty());
  auto again = Client(Connect()).Ask<protocol::Ok>(protocol::CloseTerminal{.name = "t"});
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().reason, "TERMINAL_NOT_FOUND");
}

TEST_F(TerminalsTest, OneThatIsOnlyForItsViewersEndsAfterThem) {
  OpenTerminal request = Request("t", "sleep 1000");
  request.linger_ms = 100;
  {
    View view(Connect(), request);
    ASSERT_TRUE(view.UntilReplayed());
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_TRUE(List().terminals[0].running);
  }
  EXPECT_TRUE(Eventually([&] { return !List().terminals[0].running; }));
}

TEST_F(TerminalsTest, AProgramThatLetsGoOfItsTerminalCostsNothingAndIsNoticed) {
  View view(Connect(), Request("t",
                               "exec </dev/null >/dev/null 2>&1; sleep 0.7; "
                               "echo back > /dev/tty; sleep 0.2; exit 4"));
  view.UntilEnd();
  ASSERT_TRUE(view.exited.has_value());
  EXPECT_EQ(view.exited->exit_code, 4);
}

TEST_F(TerminalsTest, TwoHundredAtOnceAndNothingIsLeftOfThem) {
  size_t fds = AgentFds();
  {
    std::vector<std::unique_ptr<View>> views;
    for (int i = 0; i < 200; ++i) {
      views.push_back(
          std::make_unique<View>(Connect(), Request("t" + std::to_string(i), "cat; exit 0")));
    }
    for (int i = 0; i < 200; ++i) {
      std::string word = "word" + std::to_string(i) + "\r";
      ASSERT_TRUE(views[static_cast<size_t>(i)]->Type(word, word)) << i;
    }
    for (auto& view : views) {
      ASSERT_TRUE(view->client().SendData(FrameType::kStdin, "\x04").has_value());
      view->UntilEnd();
      EXPECT_TRUE(view->exited.has_value());
    }
  }
  // A few that have ended are kept.
  EXPECT_TRUE(Eventually([&] { return List().terminals.size() <= 16; }));
  EXPECT_TRUE(Eventually([&] { return AgentFds() <= fds + 64; }));
}

TEST_F(TerminalsTest, WhatIsNoRequestIsRefused) {
  OpenTerminal nameless = Request("", "true");
  EXPECT_TRUE(View(Connect(), nameless).error().has_value());
  OpenTerminal tiny = Request("t", "true");
  tiny.cols = 0;
  EXPECT_EQ(View(Connect(), tiny).error()->code, Code::kInvalidArgument);
  View view(Connect(), Request("t", "sleep 1000"));
  ASSERT_TRUE(view.UntilReplayed());
  view.Resize(0, 1);
  view.UntilEnd();
  EXPECT_FALSE(view.exited.has_value());
}

}  // namespace
}  // namespace atl::agent
