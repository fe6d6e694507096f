// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_connection.h"

#include <poll.h>

#include <algorithm>
#include <optional>

namespace atl::sandbox {
namespace {

constexpr size_t kReadBytes = 128U << 10U;
constexpr std::chrono::milliseconds kConnectLimit{5'000};
constexpr size_t kMaxReason = 64;
constexpr size_t kMaxMessage = 4096;

Error Gone(std::string why) {
  return Error{.code = Code::kUnavailable,
               .message = "the sandbox does not answer: " + why,
               .reason = "CONTAINER_UNAVAILABLE"};
}

}  // namespace

Error CleanAgentError(Error error) {
  auto is_reason = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  if (error.reason.size() > kMaxReason || !std::ranges::all_of(error.reason, is_reason)) {
    error.reason.clear();
  }
  if (error.message.size() > kMaxMessage) {
    size_t cut = kMaxMessage;
    while (cut > 0 && (static_cast<unsigned char>(error.message[cut]) & 0xC0U) == 0x80U) --cut;
    error.message.resize(cut);
  }
  auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::ranges::replace_if(error.message, is_control, ' ');
  return error;
}

Unexpected TooOld() {
  return Fail(Code::kFailedPrecondition,
              "the sandbox was started by an earlier release, whose agent cannot do this: stop it "
              "and start it again",
              "AGENT_TOO_OLD");
}

async::Task<Result<std::unique_ptr<AgentConnection>>> AgentConnection::Open(
    std::string socket_path) {
  Result<async::Stream> stream = co_await async::ConnectUnix(std::move(socket_path), kConnectLimit);
  if (!stream) co_return Unexpected(Gone(std::move(stream).error().message));
  co_return std::make_unique<AgentConnection>(*std::move(stream));
}

async::Task<Result<void>> AgentConnection::SendData(protocol::FrameType type,
                                                    std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, protocol::kMaxDataBytes);
    bytes.remove_prefix(piece.size());
    protocol::Header header = protocol::EncodeHeader(type, piece.size());
    CO_TRY(co_await stream_.Write2(std::string_view(header.data(), header.size()), piece));
  }
  co_return Result<void>();
}

async::Task<Result<void>> AgentConnection::SendEmpty(protocol::FrameType type) {
  protocol::Header header = protocol::EncodeHeader(type, 0);
  Result<void> sent = co_await stream_.Write(std::string_view(header.data(), header.size()));
  co_return sent;
}

bool AgentConnection::HungUp() const {
  if (!stream_.is_open()) return true;
  pollfd poll{.fd = stream_.fd(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

async::Task<Result<size_t>> AgentConnection::Fill() {
  std::span<char> space = parser_.Space(kReadBytes);
  if (!expect_descriptor_) {
    Result<size_t> n = co_await stream_.ReadSome(space);
    co_return n;
  }
  sys::Fd passed;
  Result<size_t> n = co_await stream_.ReadSomeWithFd(space, passed);
  if (passed && descriptor_) co_return Fail(Code::kInternal, "the agent passed two descriptors");
  if (passed) descriptor_ = std::move(passed);
  co_return n;
}

Result<void> AgentConnection::CheckHello(const protocol::Frame& frame) {
  ASSIGN(auto hello, ExpectFromAgent<protocol::Hello>(frame));
  TRY(protocol::CheckAgentVersion(hello.version));
  greeted_ = true;
  return {};
}

async::Task<Result<protocol::Frame>> AgentConnection::Next() {
  while (true) {
    CO_ASSIGN(std::optional<protocol::Frame> frame, parser_.Next());
    if (frame && greeted_) co_return *frame;
    if (frame) {
      CO_TRY(CheckHello(*frame));
      continue;
    }
    Result<size_t> n = co_await Fill();
    if (!n && n.error().code == Code::kUnavailable) {
      co_return Unexpected(Gone(std::move(n).error().message));
    }
    if (!n) co_return Unexpected(std::move(n).error());
    if (*n == 0) co_return Unexpected(Gone("the connection ended"));
    parser_.Commit(*n);
  }
}

namespace {

async::Task<> NextInto(AgentConnection& connection,
                       std::optional<Result<protocol::Frame>>& result) {
  result = co_await connection.Next();
}

}  // namespace

async::Task<Result<protocol::Frame>> AgentConnection::NextWithin(std::chrono::milliseconds limit) {
  std::optional<Result<protocol::Frame>> result;
  bool in_time = co_await async::WithTimeout(limit, NextInto(*this, result));
  if (in_time && result) co_return std::move(*result);
  co_return Fail(Code::kUnavailable, "the sandbox did not answer in time", "CONTAINER_UNAVAILABLE");
}

}  // namespace atl::sandbox
