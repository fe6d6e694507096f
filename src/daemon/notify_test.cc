// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "sys/fd.h"

namespace atl::daemon {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// The manager's end.
class Manager {
 public:
  explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    timeval limit{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }

  std::string Receive(bool wait = true) {
    char buffer[512];
    ssize_t n = ::recv(fd_.get(), buffer, sizeof(buffer), wait ? 0 : MSG_DONTWAIT);
    return n < 0 ? "nothing" : std::string(buffer, static_cast<size_t>(n));
  }

 private:
  sys::Fd fd_;
};

class NotifyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-notify-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    (void)sys::RemoveTree(dir_);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  std::string dir_;
};

TEST_F(NotifyTest, TellsASocketWithAPath) {
  Manager manager(dir_ + "/notify");
  Notifier notifier(dir_ + "/notify", std::nullopt);
  ASSERT_TRUE(notifier.Send("READY=1\nSTATUS=serving").has_value());
  EXPECT_EQ(manager.Receive(), "READY=1\nSTATUS=serving");
  EXPECT_EQ(notifier.watchdog_pause(), std::nullopt);
}

TEST_F(NotifyTest, TellsAnAbstractSocket) {
  std::string name = fmt::format("@atoll-notify-{}", ::getpid());
  Manager manager(name);
  ASSERT_TRUE(Notifier(name, std::nullopt).Send("STOPPING=1").has_value());
  EXPECT_EQ(manager.Receive(), "STOPPING=1");
}

TEST_F(NotifyTest, TellsNobodyWithoutASocket) {
  EXPECT_TRUE(Notifier().Send("READY=1").has_value());
  EXPECT_EQ(Notifier("", microseconds(1'000'000)).watchdog_pause(), std::nullopt);
}

TEST_F(NotifyTest, SaysWhyItCannotTell) {
  Result<void> sent = Notifier(dir_ + "/nobody", std::nullopt).Send("READY=1\nSTATUS=x");
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().message,
            fmt::format("tell {}/nobody of READY=1: No such file or directory", dir_));
  for (const std::string& name :
       {std::string("relative"), std::string("@"), std::string("/"), "/" + std::string(200, 'x')}) {
    EXPECT_FALSE(Notifier(name, std::nullopt).Send("READY=1").has_value()) << name;
  }
}

TEST_F(NotifyTest, TakesWhatTheEnvironmentSaysAndLeavesNothingToChildren) {
  Manager manager(dir_ + "/notify");
  ::setenv("NOTIFY_SOCKET", (dir_ + "/notify").c_str(), 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  Notifier notifier = Notifier::FromEnvironment();
  EXPECT_EQ(notifier.watchdog_pause(), milliseconds(1000));
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
  notifier.Tell("READY=1");
  EXPECT_EQ(manager.Receive(), "READY=1");
}

TEST_F(NotifyTest, IsNoWatchdogOfAnotherProcess) {
  ::setenv("NOTIFY_SOCKET", "@x", 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(Notifier::FromEnvironment().watchdog_pause(), std::nullopt);
  ::setenv("NOTIFY_SOCKET", "@x", 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  Notifier successor = Notifier::FromEnvironment(true);
  EXPECT_EQ(successor.watchdog_pause(), milliseconds(1000));
  successor.Silence();
  EXPECT_EQ(successor.watchdog_pause(), std::nullopt);
  ::setenv("NOTIFY_SOCKET", "@x", 1);
  ::setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_EQ(Notifier::FromEnvironment().watchdog_pause(), std::nullopt);
}

async::Task<> BlockUntil(std::atomic<bool>& over) {
  while (!over) std::this_thread::sleep_for(milliseconds(1));
  co_return;
}

TEST_F(NotifyTest, TheWatchdogHearsNothingOfALoopThatIsStuck) {
  Manager manager(dir_ + "/notify");
  Notifier notifier(dir_ + "/notify", milliseconds(15));
  std::atomic<bool> over = false;
  {
    async::Runtime runtime(2, 1);
    std::thread main([&] { runtime.Run(); });
    async::Spawn(runtime.shard(0), FeedWatchdog(runtime, notifier), "watchdog");
    EXPECT_EQ(manager.Receive(), "WATCHDOG=1");
    EXPECT_EQ(manager.Receive(), "WATCHDOG=1");
    async::Spawn(runtime.shard(1), BlockUntil(over), "stuck");
    // What was on its way when the loop got stuck is read; then there is silence.
    std::this_thread::sleep_for(milliseconds(100));
    while (manager.Receive(false) != "nothing") {
    }
    std::this_thread::sleep_for(milliseconds(150));
    EXPECT_EQ(manager.Receive(false), "nothing");
    over = true;
    EXPECT_EQ(manager.Receive(), "WATCHDOG=1");
    runtime.Stop();
    main.join();
  }
}

}  // namespace
}  // namespace atl::daemon
