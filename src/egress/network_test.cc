// SPDX-License-Identifier: Apache-2.0
// A sandbox's network as its programs find it. The test's host is a network namespace as well, so
// that "the internet" is an address of its own and nothing leaves the machine.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <unistd.h>

#include <future>
#include <sstream>
#include <thread>

#include "async/runtime.h"
#include "egress/egress.h"
#include "egress/netlink.h"
#include "egress/policy.h"
#include "egress/test_nameserver.h"
#include "metrics/atoll.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace atl::egress {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr char kPublic[] = "93.184.215.14";    // reachable from the test's host
constexpr char kHostsOwn[] = "93.184.215.15";  // an address of the test's host
constexpr char kIid[] = "0123456789abcdef";

Result<sys::Fd> OwnNamespace() { return sys::Open("/proc/thread-self/ns/net", O_RDONLY); }

sys::Fd NewNamespace() {
  sys::Fd made;
  std::thread([&] {
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    made = *OwnNamespace();
  }).join();
  return made;
}

sockaddr_in ToAddress(const char* text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  EXPECT_EQ(::inet_pton(AF_INET, text, &address.sin_addr), 1);
  address.sin_port = htons(port);
  return address;
}

struct Attempt {
  int err = 0;
  milliseconds took{0};
  sys::Fd fd;
};

Attempt ConnectHere(int type, const char* to, uint16_t port) {
  Attempt attempt;
  attempt.fd = sys::Fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  SetReceiveTimeout(attempt.fd, 20);
  sockaddr_in address = ToAddress(to, port);
  auto begin = std::chrono::steady_clock::now();
  if (::connect(attempt.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    attempt.err = errno;
  } else if (type == SOCK_DGRAM) {
    char byte = 'x';
    ::send(attempt.fd.get(), &byte, 1, 0);
    if (::recv(attempt.fd.get(), &byte, 1, 0) < 0) attempt.err = errno;
  }
  auto took = std::chrono::steady_clock::now() - begin;
  attempt.took = std::chrono::duration_cast<milliseconds>(took);
  return attempt;
}

// The error that ends the connection, 0 for an orderly end.
int HowItEnds(const sys::Fd& fd) {
  std::array<char, 256> buffer;
  while (true) {
    ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n == 0) return 0;
    if (n < 0) return errno;
  }
}

// Ports that are listened on in the network namespace of the calling thread.
std::vector<uint16_t> ListeningHere() {
  std::vector<uint16_t> ports;
  std::istringstream table(sys::ReadFile("/proc/thread-self/net/tcp").value_or(""));
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string number, local, remote, state;
    fields >> number >> local >> remote >> state;
    if (state == "0A") {
      ports.push_back(
          static_cast<uint16_t>(std::stoul(local.substr(local.find(':') + 1), nullptr, 16)));
    }
  }
  return ports;
}

class Network : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    original_ = *OwnNamespace();
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespaces here";
    ASSERT_TRUE(BringLoopbackUp());
    ASSERT_TRUE(AddLocalRoute(ParseRange(kPublic)->first, 32, RT_TABLE_MAIN));
    ASSERT_TRUE(AddLocalRoute(ParseRange(kHostsOwn)->first, 32, RT_TABLE_LOCAL));
    nameserver_ = std::make_unique<Nameserver>([](const std::string& query, bool) {
      return std::vector{Addresses(query, {ParseRange(kPublic)->first})};
    });
    runtime_ = std::make_unique<async::Runtime>(2, 2);
    thread_ = std::thread([this] { runtime_->Run(); });
    sandbox_ = NewNamespace();
  }
  void TearDown() override {
    attachment_.reset();
    if (runtime_) runtime_->Stop();
    if (thread_.joinable()) thread_.join();
    runtime_.reset();
    nameserver_.reset();
    if (original_) EXPECT_EQ(::setns(original_.get(), CLONE_NEWNET), 0);
  }

  void Attach(std::vector<uint16_t> host_ports = {}) {
    auto gateway = [](std::string iid, http::Exchange& exchange) -> async::Task<> {
      http::ResponseHead head;
      (void)co_await exchange.Respond(std::move(head), "this is " + iid);
    };
    Options options{std::move(host_ports), {nameserver_->endpoint()}, {}};
    auto egress = Egress::Make(*runtime_, std::move(options), gateway);
    ASSERT_TRUE(egress) << egress.error().message;
    egress_ = *std::move(egress);
    std::promise<Result<std::unique_ptr<Attachment>>> promise;
    auto attach = [](Egress& through, sys::Fd netns, auto& out) -> async::Task<> {
      out.set_value(co_await through.Attach(kIid, std::move(netns)));
    };
    auto begin = std::chrono::steady_clock::now();
    async::Spawn(runtime_->shard(0), attach(*egress_, *sandbox_.Duplicate(), promise), "attach");
    auto attached = promise.get_future().get();
    auto took = std::chrono::steady_clock::now() - begin;
    RecordProperty(
        "attach_us",
        std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
    ASSERT_TRUE(attached) << attached.error().message;
    attachment_ = *std::move(attached);
  }

  void Inside(const std::function<void()>& function) {
    auto entered = sys::RunInNetworkNamespaceErased(sandbox_.get(), function);
    EXPECT_TRUE(entered) << entered.error().message;
  }
  Attempt ConnectInside(const char* to, uint16_t port, int type = SOCK_STREAM) {
    Attempt attempt;
    Inside([&] { attempt = ConnectHere(type, to, port); });
    return attempt;
  }
  std::string AskInside(const char* nameserver, const std::string& query) {
    std::string reply(4096, '\0');
    Inside([&] {
      sys::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      SetReceiveTimeout(fd, 20);
      sockaddr_in to = ToAddress(nameserver, 53);
      ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
      ::send(fd.get(), query.data(), query.size(), 0);
      ssize_t n = ::recv(fd.get(), reply.data(), reply.size(), 0);
      reply.resize(n < 0 ? 0 : static_cast<size_t>(n));
    });
    return reply;
  }

  sys::Fd original_;
  std::unique_ptr<Nameserver> nameserver_;
  std::unique_ptr<async::Runtime> runtime_;
  std::thread thread_;
  sys::Fd sandbox_;
  std::unique_ptr<Egress> egress_;
  std::unique_ptr<Attachment> attachment_;
};

TEST_F(Network, RefusesAtOnceWhatIsNeverAllowed) {
  Attach({3000});
  for (const char* address : {"10.0.0.1", "100.64.0.1", "168.63.129.16", "169.254.169.254",
                              "172.16.0.1", "192.168.1.1", "198.18.0.1", "198.18.0.2", "198.18.0.3",
                              "198.19.0.1", "203.0.113.1", "240.0.0.1", kHostsOwn}) {
    Attempt attempt = ConnectInside(address, 81);
    EXPECT_EQ(attempt.err, ECONNREFUSED) << address;
    EXPECT_LT(attempt.took, milliseconds(500)) << address;
  }
  EXPECT_NE(ConnectInside("255.255.255.255", 81).err, 0);
  EXPECT_NE(ConnectInside("224.0.0.1", 81, SOCK_DGRAM).err, 0);
}

TEST_F(Network, RefusesUdpAtOnce) {
  Attach();
  for (const char* address : {kPublic, "10.0.0.1", "198.18.0.1"}) {
    Attempt attempt = ConnectInside(address, 443, SOCK_DGRAM);
    EXPECT_EQ(attempt.err, ECONNREFUSED) << address;
    EXPECT_LT(attempt.took, milliseconds(500)) << address;
  }
}

TEST_F(Network, ReachesThePublicInternetBothWays) {
  Attach();
  auto& bytes = metrics::Get().egress_bytes;
  const uint64_t sent = bytes.With({"sent"}).value();
  const uint64_t received = bytes.With({"received"}).value();
  sys::Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = ToAddress(kPublic, 0);
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(server.get(), 4), 0);
  Attempt attempt = ConnectInside(kPublic, PortOf(server));
  ASSERT_EQ(attempt.err, 0);
  SendText(attempt.fd, "ping");
  ::shutdown(attempt.fd.get(), SHUT_WR);
  sys::Fd peer = AcceptOne(server);
  EXPECT_EQ(ReadToEnd(peer), "ping");
  SendText(peer, "pong, too");
  peer.Reset();
  EXPECT_EQ(ReadToEnd(attempt.fd), "pong, too");
  // The relay ends a moment after its client has read the last byte.
  for (int i = 0; i < 500 && attachment_->traffic().received_bytes == 0; ++i) ::usleep(10'000);
  for (int i = 0; i < 500 && bytes.With({"received"}).value() == received; ++i) ::usleep(10'000);
  EXPECT_EQ(bytes.With({"sent"}).value() - sent, 4U);
  EXPECT_EQ(bytes.With({"received"}).value() - received, 9U);
}

TEST_F(Network, ResetsWhatCannotBeReached) {
  Attach();
  Attempt closed = ConnectInside(kPublic, 1);
  ASSERT_EQ(closed.err, 0);
  EXPECT_EQ(HowItEnds(closed.fd), ECONNRESET);
  Attempt unroutable = ConnectInside("9.9.9.9", 443);
  ASSERT_EQ(unroutable.err, 0);
  EXPECT_EQ(HowItEnds(unroutable.fd), ECONNRESET);
}

TEST_F(Network, OpensOnlyTheListedPortsOfTheHost) {
  sys::Fd listed = BindLoopbackSocket(SOCK_STREAM);
  sys::Fd unlisted = BindLoopbackSocket(SOCK_STREAM);
  Attach({PortOf(listed)});
  Attempt attempt = ConnectInside("198.18.0.2", PortOf(listed));
  ASSERT_EQ(attempt.err, 0);
  sys::Fd peer = AcceptOne(listed);
  SendText(peer, "from the host");
  peer.Reset();
  EXPECT_EQ(ReadToEnd(attempt.fd), "from the host");
  EXPECT_EQ(ConnectInside("198.18.0.2", PortOf(unlisted)).err, ECONNREFUSED);
}

TEST_F(Network, TheGatewayKnowsWhoAsks) {
  Attach();
  Attempt attempt = ConnectInside("198.18.0.1", 80);
  ASSERT_EQ(attempt.err, 0);
  SendText(attempt.fd, "GET / HTTP/1.1\r\nHost: gateway.atoll\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(ReadToEnd(attempt.fd), HasSubstr(std::string("this is ") + kIid));
}

TEST_F(Network, AnswersDnsWhomeverItIsAddressedTo) {
  Attach();
  auto gateway = dns::ParseAnswer(AskInside("198.18.0.1", QueryFor("gateway.atoll")));
  ASSERT_TRUE(gateway) << gateway.error().message;
  EXPECT_EQ(gateway->addresses, std::vector<uint32_t>{kGatewayAddress});
  auto other = dns::ParseAnswer(AskInside("8.8.8.8", QueryFor("example.org")));
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(other->addresses, std::vector<uint32_t>{ParseRange(kPublic)->first});
  Attempt tcp = ConnectInside("8.8.8.8", 53);
  ASSERT_EQ(tcp.err, 0);
  std::string query = QueryFor("host.atoll");
  SendText(tcp.fd, std::string{'\0', static_cast<char>(query.size())} + query);
  ::shutdown(tcp.fd.get(), SHUT_WR);
  auto over_tcp = dns::ParseAnswer(ReadToEnd(tcp.fd).substr(2));
  ASSERT_TRUE(over_tcp) << over_tcp.error().message;
  EXPECT_EQ(over_tcp->addresses, std::vector<uint32_t>{kHostAddress});
}

TEST_F(Network, HasNoIpv6) {
  Attach();
  Inside([] {
    sys::Fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = htons(80);
    EXPECT_NE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(sys::ReadFile("/proc/thread-self/net/if_inet6").value_or(""), "");
  });
}

TEST_F(Network, LeavesLoopbackAloneAndResetsWhoFindsTheListener) {
  Attach();
  std::vector<uint16_t> ports;
  Inside([&] { ports = ListeningHere(); });
  ASSERT_EQ(ports.size(), 1U);
  Attempt direct = ConnectInside("127.0.0.1", ports[0]);
  ASSERT_EQ(direct.err, 0);
  EXPECT_EQ(HowItEnds(direct.fd), ECONNRESET);
  Inside([] {
    sys::Fd own = BindLoopbackSocket(SOCK_STREAM);
    Attempt attempt = ConnectHere(SOCK_STREAM, "127.0.0.1", PortOf(own));
    ASSERT_EQ(attempt.err, 0);
    SendText(attempt.fd, "own");
    attempt.fd.Reset();
    EXPECT_EQ(ReadToEnd(AcceptOne(own)), "own");
  });
}

TEST_F(Network, DetachingEndsEverything) {
  Attach();
  Attempt idle = ConnectInside("198.18.0.1", 80);
  ASSERT_EQ(idle.err, 0);
  SendText(idle.fd, "GET / HTTP/1.1\r\n");
  attachment_.reset();
  EXPECT_NE(HowItEnds(idle.fd), EAGAIN);
  int err = 0;
  // One that the closing listener has just taken up is reset; the next is refused.
  for (int i = 0; i < 200 && err != ECONNREFUSED; ++i) {
    err = ConnectInside("198.18.0.1", 80).err;
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(err, ECONNREFUSED);
}

TEST_F(Network, CanBeAttachedAgain) {
  sys::Fd service = BindLoopbackSocket(SOCK_STREAM);
  Attach({PortOf(service)});
  ASSERT_EQ(ConnectInside("198.18.0.2", PortOf(service)).err, 0);
  attachment_.reset();
  Attach();
  EXPECT_EQ(ConnectInside("198.18.0.2", PortOf(service)).err, ECONNREFUSED) << "no longer listed";
  Attempt attempt = ConnectInside("198.18.0.1", 80);
  ASSERT_EQ(attempt.err, 0);
  SendText(attempt.fd, "GET / HTTP/1.1\r\nHost: gateway.atoll\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(ReadToEnd(attempt.fd), HasSubstr(kIid));
  EXPECT_EQ(ConnectInside("10.0.0.1", 80).err, ECONNREFUSED);
}

TEST_F(Network, RootInsideCannotAlterTheRules) {
  // A namespace inside a user namespace, and in it a root without CAP_NET_ADMIN, as sandboxes have.
  sys::Command probe{.argv = {"setpriv", "--bounding-set", "-net_admin", "nft", "--version"}};
  auto available = sys::Run(probe);
  if (!available || available->exit_code != 0) GTEST_SKIP() << "needs setpriv and nft";
  sys::Pipe pid_pipe = *sys::MakePipe();
  sys::Command holder{.argv = {"unshare", "-Urn", "sh", "-c", "echo $$; read x <&3"}};
  sys::Pipe hold = *sys::MakePipe();
  holder.inherit = {hold.read.get()};
  holder.stdout_fd = pid_pipe.write.get();
  std::thread running([&] { (void)sys::Run(holder); });
  std::array<char, 32> text{};
  ASSERT_GT(::read(pid_pipe.read.get(), text.data(), text.size() - 1), 0);
  pid_t pid = std::atoi(text.data());
  sandbox_ = *sys::OpenNamespace(pid, "net");
  Attach();
  auto as_root = [&](std::vector<std::string> argv) {
    std::vector<std::string> all = {"nsenter", "-t",      std::to_string(pid), "-U",
                                    "-n",      "setpriv", "--bounding-set",    "-net_admin"};
    all.insert(all.end(), argv.begin(), argv.end());
    return sys::Run(sys::Command{.argv = all})->exit_code;
  };
  EXPECT_EQ(as_root({"true"}), 0);
  EXPECT_NE(as_root({"nft", "flush", "ruleset"}), 0);
  EXPECT_NE(as_root({"nft", "delete", "table", "inet", "atoll"}), 0);
  EXPECT_EQ(ConnectInside("10.0.0.1", 80).err, ECONNREFUSED);
  EXPECT_EQ(ConnectInside("198.18.0.1", 80).err, 0);
  hold.write.Reset();
  running.join();
}

}  // namespace
}  // namespace atl::egress
