// SPDX-License-Identifier: Apache-2.0
#include "agent/dial.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "protocol/connection.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr int kConnectTimeoutMs = 2000;

Unexpected NothingAnswers(int error, const std::string& where) {
  Error failure = ErrnoError(error, "nothing answers " + where);
  failure.code = Code::kBadGateway;
  failure.reason = "SERVICE_NOT_RESPONDING";
  return Unexpected(std::move(failure));
}

Result<sys::Fd> Connect(uint16_t port) {
  sys::Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, "make a socket");
  int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int error = 0;
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    error = errno;
  }
  if (error == EINPROGRESS) {
    pollfd ready{.fd = fd.get(), .events = POLLOUT, .revents = 0};
    error = ETIMEDOUT;
    if (poll(&ready, 1, kConnectTimeoutMs) > 0) {
      socklen_t size = sizeof(error);
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error == 0) return fd;
  return NothingAnswers(error, "on port " + std::to_string(port));
}

Result<sys::Fd> ConnectPath(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path) || !path.starts_with('/') ||
      path.find('\0') != std::string::npos) {
    return Fail(Code::kInvalidArgument, "that is not the path of a socket", "VALIDATION_FAILED");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  // Not blocking: one whose queue is full would keep us waiting.
  sys::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, "make a socket");
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return NothingAnswers(errno, "at " + path);
  }
  return fd;
}

// Both directions, one buffer each.
class Relay {
 public:
  Relay(int client, protocol::FrameParser* parser, Outbox* outbox, sys::Fd service)
      : client_(client), parser_(parser), outbox_(outbox), service_(std::move(service)) {}

  void Run() {
    if (!TakeFrames()) return;
    while (Step()) {
    }
  }

 private:
  bool Step();
  bool TakeFrames();
  bool WriteService();

  int client_;
  protocol::FrameParser* parser_;
  Outbox* outbox_;
  sys::Fd service_;
  std::string to_service_;
  size_t written_ = 0;
  bool client_ended_ = false;   // kRelayEnd has come
  bool shut_down_ = false;      // and was passed on
  bool service_ended_ = false;  // it sent everything, and kRelayEnd is in the outbox or gone
};

bool Relay::Step() {
  if (!outbox_->Flush()) return false;
  if (client_ended_ && to_service_.empty() && !shut_down_) {
    shutdown(service_.get(), SHUT_WR);
    shut_down_ = true;
  }
  if (shut_down_ && service_ended_ && outbox_->empty()) return false;
  bool room = outbox_->empty();
  auto client_events =
      static_cast<short>((room ? 0 : POLLOUT) | (to_service_.empty() ? POLLIN : 0));
  auto service_events = static_cast<short>((room && !service_ended_ ? POLLIN : 0) |
                                           (to_service_.empty() ? 0 : POLLOUT));
  std::array<pollfd, 2> fds{{
      {.fd = client_, .events = client_events, .revents = 0},
      // Nothing is wanted from it: ignored, or its POLLHUP would make a busy loop.
      {.fd = service_events == 0 ? -1 : service_.get(), .events = service_events, .revents = 0},
  }};
  if (poll(fds.data(), fds.size(), -1) < 0) return errno == EINTR;
  if ((fds[0].revents & (POLLHUP | POLLERR)) != 0 && (fds[0].revents & POLLIN) == 0) return false;
  if ((fds[0].revents & POLLIN) != 0 && (!ReceiveSome(client_, parser_) || !TakeFrames())) {
    return false;
  }
  if (!to_service_.empty() && (fds[1].revents & (POLLOUT | POLLERR | POLLHUP)) != 0 &&
      (!WriteService() || !TakeFrames())) {
    return false;
  }
  if (room && !service_ended_ && (fds[1].revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
    ssize_t count = outbox_->ReadFrom(service_.get(), FrameType::kRelay);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) {
      service_ended_ = true;
      return outbox_->PutFrame(protocol::EncodeFrame(FrameType::kRelayEnd)).has_value();
    }
  }
  return true;
}

bool Relay::TakeFrames() {
  while (to_service_.empty()) {
    auto frame = parser_->Next();
    if (!frame) return false;
    if (!*frame) return true;
    if ((*frame)->type == FrameType::kRelayEnd) {
      client_ended_ = true;
    } else if ((*frame)->type == FrameType::kRelay && !client_ended_) {
      to_service_ = (*frame)->payload;
      if (!WriteService()) return false;
    } else {
      return false;
    }
  }
  return true;
}

bool Relay::WriteService() {
  while (written_ < to_service_.size()) {
    ssize_t count = send(service_.get(), to_service_.data() + written_,
                         to_service_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    written_ += static_cast<size_t>(count);
  }
  to_service_.clear();
  written_ = 0;
  return true;
}

Result<void> HandOver(sys::Fd service, protocol::DialMode mode, int socket,
                      protocol::FrameParser* parser, Outbox* outbox) {
  protocol::Dialed dialed{.mode = mode};
  if (mode == protocol::DialMode::kDescriptor) {
    ASSIGN(std::string frame, protocol::Encode(dialed));
    return protocol::SendWithFd(socket, frame, service.get());
  }
  TRY(outbox->Put(dialed));
  Relay(socket, parser, outbox, std::move(service)).Run();
  return {};
}

}  // namespace

Result<void> RunDial(const protocol::Dial& request, protocol::DialMode mode, int socket,
                     protocol::FrameParser* parser, Outbox* outbox) {
  if (request.port == 0 || request.port > 65535) {
    return Fail(Code::kInvalidArgument, std::to_string(request.port) + " is not a port",
                "INVALID_PORT");
  }
  ASSIGN(sys::Fd service, Connect(static_cast<uint16_t>(request.port)));
  return HandOver(std::move(service), mode, socket, parser, outbox);
}

Result<void> RunDialPath(const protocol::DialPath& request, protocol::DialMode mode, int socket,
                         protocol::FrameParser* parser, Outbox* outbox) {
  ASSIGN(sys::Fd service, ConnectPath(request.path));
  return HandOver(std::move(service), mode, socket, parser, outbox);
}

}  // namespace atl::agent
