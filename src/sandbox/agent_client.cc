// SPDX-License-Identifier: Apache-2.0
// Short operations: ready, list, signal, dial. Programs are in agent_process.cc, archives in
// agent_tar.cc.
#include "sandbox/agent_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "protocol/ports.h"
#include "sandbox/agent_connection.h"
#include "sandbox/agent_relay.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::milliseconds kAnswerLimit{30'000};
constexpr std::chrono::milliseconds kDialLimit{10'000};
constexpr size_t kMaxListening = 1024;
constexpr size_t kMaxAddress = 45;
constexpr size_t kMaxProgramName = 64;
// Somebody waits for a sandbox, and can get another.
constexpr std::chrono::milliseconds kConfigureLimit{5'000};

template <class T>
Result<T> Option(int fd, int level, int name) {
  T value{};
  socklen_t size = sizeof(value);
  if (::getsockopt(fd, level, name, &value, &size) != 0) {
    return FailErrno(errno, "look at the descriptor that the agent passed");
  }
  return value;
}

// A connected TCP socket to 127.0.0.1:`port`, and nothing else that the agent might like us to use.
Result<void> CheckDialed(int fd, uint16_t port) {
  constexpr std::string_view kWrong = "the agent passed a descriptor that is not the connection";
  ASSIGN(int domain, Option<int>(fd, SOL_SOCKET, SO_DOMAIN));
  ASSIGN(int type, Option<int>(fd, SOL_SOCKET, SO_TYPE));
  ASSIGN(int protocol, Option<int>(fd, SOL_SOCKET, SO_PROTOCOL));
  if (domain != AF_INET || type != SOCK_STREAM || protocol != IPPROTO_TCP) {
    return Fail(Code::kInternal, std::string(kWrong));
  }
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    return FailErrno(errno, kWrong);
  }
  if (size != sizeof(peer) || peer.sin_family != AF_INET || ntohs(peer.sin_port) != port ||
      ntohl(peer.sin_addr.s_addr) != INADDR_LOOPBACK) {
    return Fail(Code::kInternal, std::string(kWrong));
  }
  return {};
}

// A connected unix stream socket. Which one, nobody but the agent can say.
Result<void> CheckDialedPath(int fd) {
  ASSIGN(int domain, Option<int>(fd, SOL_SOCKET, SO_DOMAIN));
  ASSIGN(int type, Option<int>(fd, SOL_SOCKET, SO_TYPE));
  ASSIGN(int listens, Option<int>(fd, SOL_SOCKET, SO_ACCEPTCONN));
  if (domain == AF_UNIX && type == SOCK_STREAM && listens == 0) return {};
  return Fail(Code::kInternal, "the agent passed a descriptor that is not the connection");
}

// Sends `request` and returns the answer as a Reply.
template <class Reply, class Request>
async::Task<Result<Reply>> Ask(std::string socket_path, const Request& request,
                               std::chrono::milliseconds limit) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(limit));
  co_return ExpectFromAgent<Reply>(frame);
}

// What the agent passed, which is still to be checked, or a stream through the agent.
struct Dialled {
  sys::Fd fd;
  std::optional<async::Stream> relayed;
};

template <class Request>
async::Task<Result<Dialled>> DialAgent(std::string socket_path, const Request& request) {
  async::Executor executor = co_await async::ThisExecutor();
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  connection->ExpectDescriptor();
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kDialLimit));
  CO_ASSIGN(auto dialed, ExpectFromAgent<protocol::Dialed>(frame));
  Dialled dialled{.fd = connection->TakeDescriptor(), .relayed = {}};
  if (dialed.mode == protocol::DialMode::kRelay) {
    if (dialled.fd) {
      co_return Fail(Code::kInternal, "the agent passed a descriptor that it did not announce");
    }
    CO_ASSIGN(dialled.relayed, StartRelay(executor, std::move(connection)));
  } else if (!dialled.fd) {
    co_return Fail(Code::kInternal, "the agent passed no descriptor");
  }
  co_return dialled;
}

}  // namespace

AgentClient::AgentClient(std::string socket_path,
                         std::vector<std::pair<std::string, std::string>> base_env, OomBook ooms)
    : socket_path_(std::move(socket_path)),
      base_env_(std::move(base_env)),
      ooms_(std::move(ooms)) {}

async::Task<Result<void>> AgentClient::WaitReady(std::chrono::milliseconds limit) {
  // The daemon has bound the socket itself: a connection waits in its backlog until the agent runs,
  // and is reset when the agent dies.
  protocol::Ping ping;
  Result<protocol::Ok> answer = co_await Ask<protocol::Ok>(socket_path_, ping, limit);
  if (!answer) co_return Unexpected(std::move(answer).error().Wrap("wait for the agent"));
  co_return Result<void>();
}

async::Task<Result<std::vector<DetachedInfo>>> AgentClient::ListDetached() {
  protocol::ListProcesses request;
  CO_ASSIGN(auto answer, co_await Ask<protocol::Processes>(socket_path_, request, kAnswerLimit));
  std::vector<DetachedInfo> infos;
  for (protocol::Process& process : answer.processes) {
    int code = process.exited.signal != 0 ? 128 + process.exited.signal : process.exited.exit_code;
    infos.push_back(DetachedInfo{.name = std::move(process.name),
                                 .pid = static_cast<int>(process.pid),
                                 .running = process.running,
                                 .exit_code = process.running ? 0 : code});
  }
  co_return infos;
}

async::Task<Result<void>> AgentClient::SignalDetached(std::string name, int signo) {
  protocol::Signal request{.name = std::move(name), .signo = signo, .group = true};
  CO_TRY(co_await Ask<protocol::Ok>(socket_path_, request, kAnswerLimit));
  co_return Result<void>();
}

async::Task<Result<void>> AgentClient::Configure(
    std::string hostname, std::string former,
    std::vector<std::pair<std::string, std::string>> env) {
  protocol::Configure request{
      .hostname = std::move(hostname), .former = std::move(former), .env = std::move(env)};
  CO_TRY(co_await Ask<protocol::Ok>(socket_path_, request, kConfigureLimit));
  co_return Result<void>();
}

async::Task<Result<void>> AgentClient::Park(std::chrono::milliseconds limit) {
  protocol::Park request;
  CO_TRY(co_await Ask<protocol::Ok>(socket_path_, request, limit));
  co_return Result<void>();
}

async::Task<Result<void>> AgentClient::BecomeCopy() {
  protocol::BecomeCopy request;
  CO_TRY(co_await Ask<protocol::Ok>(socket_path_, request, kAnswerLimit));
  co_return Result<void>();
}

async::Task<Result<Listening>> AgentClient::ListListening() {
  protocol::ListPorts request;
  CO_ASSIGN(auto answer, co_await Ask<protocol::Ports>(socket_path_, request, kAnswerLimit));
  Listening listening{.complete = answer.complete};
  for (protocol::ListeningPort& one : answer.ports) {
    if (one.port == 0 || one.port > 65535 || listening.sockets.size() == kMaxListening) continue;
    listening.sockets.push_back(ListeningSocket{.address = one.address.substr(0, kMaxAddress),
                                                .port = static_cast<uint16_t>(one.port),
                                                .pid = one.pid,
                                                .name = one.name.substr(0, kMaxProgramName),
                                                .argv = std::move(one.argv)});
  }
  co_return listening;
}

async::Task<Result<async::Stream>> AgentClient::Dial(uint16_t port) {
  protocol::Dial request{.port = port};
  CO_ASSIGN(Dialled dialled, co_await DialAgent(socket_path_, request));
  if (dialled.relayed) co_return *std::move(dialled.relayed);
  CO_TRY(CheckDialed(dialled.fd.get(), port));
  int on = 1;
  ::setsockopt(dialled.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  async::Executor executor = co_await async::ThisExecutor();
  co_return async::Stream(executor, std::move(dialled.fd));
}

async::Task<Result<async::Stream>> AgentClient::DialPath(std::string path) {
  protocol::DialPath request{.path = std::move(path)};
  CO_ASSIGN(Dialled dialled, co_await DialAgent(socket_path_, request));
  if (dialled.relayed) co_return *std::move(dialled.relayed);
  CO_TRY(CheckDialedPath(dialled.fd.get()));
  async::Executor executor = co_await async::ThisExecutor();
  co_return async::Stream(executor, std::move(dialled.fd));
}

}  // namespace atl::sandbox
