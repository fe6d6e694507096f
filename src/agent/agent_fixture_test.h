// SPDX-License-Identifier: Apache-2.0
// The real agent program as an ordinary process, and a client for it.
#pragma once

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "protocol/connection.h"

namespace atl::agent {

using protocol::FrameType;

inline bool Eventually(const std::function<bool()>& condition,
                       std::chrono::milliseconds limit = std::chrono::seconds(10)) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

// As much as can be read: a process of /proc may end meanwhile.
inline std::string Slurp(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// A pid that ran and is gone, or a zombie that its parent has not seen yet.
inline bool IsGone(int pid) {
  std::string stat = Slurp("/proc/" + std::to_string(pid) + "/stat");
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

// What lets a process look into others whatever they do about it.
inline constexpr int kSeeAll[] = {CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON};

class AgentTest : public testing::Test {
 protected:
  void SetUp() override { StartAgent({}); }
  void TearDown() override {
    StopAgent();
    std::filesystem::remove_all(dir_);
  }

  void StartAgent(std::vector<std::string> extra) {
    char name[] = "/tmp/atoll-agent-test-XXXXXX";
    if (dir_.empty()) dir_ = mkdtemp(name);
    std::filesystem::remove(dir_ / "sock");
    sys::Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = Address();
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener.get(), 1024), 0);
    std::vector<std::string> arguments{ATOLL_AGENT_PROGRAM, "serve"};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    agent_ = fork();
    if (agent_ == 0) {
      // As in a sandbox: with these nothing could be hidden from anybody.
      for (int capability : kSeeAll) prctl(PR_CAPBSET_DROP, capability);
      if (listener.get() == 3) {
        fcntl(3, F_SETFD, 0);
      } else {
        dup2(listener.get(), 3);
      }
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }

  void StopAgent() {
    if (agent_ <= 0) return;
    // Programs that still run lead a group each; they would outlive the agent.
    for (int round = 0; round < 3; ++round) {
      std::string base = "/proc/" + std::to_string(agent_) + "/task";
      for (const auto& task : std::filesystem::directory_iterator(base)) {
        std::istringstream children(Slurp(task.path() / "children"));
        for (pid_t child = 0; children >> child;) kill(-child, SIGKILL);
      }
    }
    kill(agent_, SIGKILL);
    waitpid(agent_, nullptr, 0);
    agent_ = -1;
  }

  sockaddr_un Address() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (dir_ / "sock").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
  }

  sys::Fd Connect() const {
    sys::Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{.tv_sec = 30, .tv_usec = 0};
    setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_un address = Address();
    EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return client;
  }

  static protocol::Spawn Shell(const std::string& script) {
    return {.argv = {"sh", "-c", script},
            .env = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"GREETING", "hi there"}},
            .cwd = "/"};
  }

  size_t AgentFds() const {
    size_t count = 0;
    auto fds = std::filesystem::directory_iterator("/proc/" + std::to_string(agent_) + "/fd");
    for ([[maybe_unused]] const auto& fd : fds) ++count;
    return count;
  }

  long AgentRssKb(pid_t pid, const std::string& field = "VmRSS:") const {
    std::string status = Slurp("/proc/" + std::to_string(pid) + "/status");
    size_t at = status.find(field);
    return at == std::string::npos ? -1 : std::atol(status.c_str() + at + field.size());
  }

  // The agent's child named atoll-spawner.
  pid_t SpawnerPid() const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      if (std::atoi(entry.path().filename().c_str()) == 0) continue;
      std::string stat = Slurp(entry.path() / "stat");
      if (stat.find("(atoll-spawner) ") == std::string::npos ||
          stat.find("(atoll-spawner) Z") != std::string::npos) {
        continue;
      }
      int parent = 0;
      if (std::sscanf(stat.c_str() + stat.rfind(')'), ") %*c %d", &parent) == 1 &&
          parent == agent_) {
        return std::atoi(entry.path().filename().c_str());
      }
    }
    return -1;
  }

  std::filesystem::path dir_;
  pid_t agent_ = -1;
};

// A connection with its Hello read.
class Client {
 public:
  explicit Client(sys::Fd socket) : socket_(std::move(socket)), reader_(socket_.get()) {
    auto hello = reader_.Expect<protocol::Hello>();
    EXPECT_TRUE(hello.has_value());
    if (hello) hello_ = *hello;
  }

  template <class M>
  void Send(const M& message) {
    ASSERT_TRUE(protocol::Send(socket_.get(), message).has_value());
  }
  void SendEmpty(FrameType type) {
    (void)protocol::SendBytes(socket_.get(), protocol::EncodeFrame(type));
  }
  Result<void> SendData(FrameType type, std::string_view bytes) {
    return protocol::SendData(socket_.get(), type, bytes);
  }
  template <class M>
  Result<M> Expect() {
    return reader_.Expect<M>();
  }
  template <class M, class R>
  Result<M> Ask(const R& request) {
    Send(request);
    return Expect<M>();
  }
  void Close() { socket_.Reset(); }

  int fd() const { return socket_.get(); }
  protocol::FrameReader& reader() { return reader_; }
  const protocol::Hello& hello() const { return hello_; }

 private:
  sys::Fd socket_;
  protocol::FrameReader reader_;
  protocol::Hello hello_;
};

struct Outcome {
  std::string out;
  std::string err;
  uint32_t pid = 0;
  std::optional<protocol::Exited> exited;
  std::optional<protocol::End> end;
  std::optional<Error> error;
};

// Everything that comes until the connection ends.
inline Outcome Collect(Client* client) {
  Outcome outcome;
  while (true) {
    auto frame = client->reader().Next();
    if (!frame || !*frame) return outcome;
    std::string_view payload = (*frame)->payload;
    switch ((*frame)->type) {
      case FrameType::kStarted:
        outcome.pid = protocol::Decode<protocol::Started>(payload).value().pid;
        break;
      case FrameType::kStdout:
        outcome.out += payload;
        break;
      case FrameType::kStderr:
        outcome.err += payload;
        break;
      case FrameType::kExited:
        outcome.exited = protocol::Decode<protocol::Exited>(payload).value();
        break;
      case FrameType::kEnd:
        outcome.end = protocol::Decode<protocol::End>(payload).value();
        break;
      case FrameType::kError:
        outcome.error = protocol::UnexpectedFrame(**frame);
        break;
      default:
        ADD_FAILURE() << "unexpected frame " << static_cast<int>((*frame)->type);
    }
  }
}

}  // namespace atl::agent
