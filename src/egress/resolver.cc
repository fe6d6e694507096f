// SPDX-License-Identifier: Apache-2.0
#include "egress/resolver.h"

#include <netdb.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace atl::egress {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTotal{4500};
constexpr milliseconds kUdpTry{1500};
constexpr milliseconds kTcpTry{3000};
constexpr milliseconds kPauseBetweenRounds{150};
constexpr int kRounds = 3;

// An id that an attacker who cannot see the query cannot know.
uint16_t RandomId() {
  uint16_t id = 0;
  while (::getrandom(&id, sizeof id, 0) < 0 && errno == EINTR) {
  }
  return id;
}

milliseconds Remaining(Clock::time_point deadline, milliseconds at_most) {
  auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  return std::clamp(left, milliseconds(0), at_most);
}

struct Transaction {
  async::Endpoint server;
  dns::Question question;
  bool edns = true;
  // The outcome.
  bool answered = false;
  std::string message;
  dns::Answer answer;

  // Takes `text` if it is the answer to `id`.
  bool Take(std::string_view text, uint16_t id) {
    Result<dns::Answer> parsed = dns::ParseAnswer(text);
    if (!parsed || parsed->id != id) return false;
    bool misunderstood = parsed->rcode == dns::kFormatError && parsed->question.wire.empty();
    if (!misunderstood && !dns::SameQuestion(parsed->question, question)) return false;
    answered = true;
    message = text;
    answer = *std::move(parsed);
    return true;
  }
};

// Connected, so that the kernel drops what others send and tells of a closed port.
sys::Fd ConnectedDatagram(const async::Endpoint& server) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  std::string port = std::to_string(server.port);
  if (::getaddrinfo(server.address.c_str(), port.c_str(), &hints, &found) != 0) return {};
  sys::Fd fd(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  bool connected = fd && ::connect(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  return connected ? std::move(fd) : sys::Fd();
}

// A socket, and so a source port, of its own for every query.
async::Task<> AskUdp(Transaction& transaction) {
  sys::Fd fd = ConnectedDatagram(transaction.server);
  if (!fd) co_return;
  uint16_t id = RandomId();
  std::string query = dns::BuildQuery(id, transaction.question, transaction.edns);
  if (::send(fd.get(), query.data(), query.size(), MSG_NOSIGNAL) < 0) co_return;
  async::Executor executor = co_await async::ThisExecutor();
  // As a stream, a refusal by the server's host ends the wait.
  async::Stream socket(executor, std::move(fd));
  std::array<char, 4096> buffer;
  while (true) {
    Result<size_t> n = co_await socket.ReadSome(buffer);
    if (!n || transaction.Take(std::string_view(buffer.data(), *n), id)) co_return;
  }
}

async::Task<bool> ReadExactly(async::Stream& stream, std::span<char> buffer) {
  while (!buffer.empty()) {
    Result<size_t> n = co_await stream.ReadSome(buffer);
    if (!n || *n == 0) co_return false;
    buffer = buffer.subspan(*n);
  }
  co_return true;
}

async::Task<> AskTcp(Transaction& transaction) {
  Result<async::Stream> stream = co_await async::ConnectTcp(transaction.server, kTcpTry);
  if (!stream) co_return;
  uint16_t id = RandomId();
  std::string query = dns::BuildQuery(id, transaction.question, transaction.edns);
  std::string length = {static_cast<char>(query.size() >> 8U), static_cast<char>(query.size())};
  Result<void> sent = co_await stream->Write2(length, query);
  if (!sent) co_return;
  std::array<char, 2> prefix;
  bool read = co_await ReadExactly(*stream, prefix);
  if (!read) co_return;
  size_t size = (static_cast<size_t>(static_cast<unsigned char>(prefix[0])) << 8U) |
                static_cast<unsigned char>(prefix[1]);
  std::string message(size, '\0');
  read = co_await ReadExactly(*stream, message);
  if (read) transaction.Take(message, id);
}

}  // namespace

Resolver::Resolver(std::vector<async::Endpoint> nameservers, std::shared_ptr<Policy> policy,
                   std::string resolv_conf)
    : nameservers_(std::move(nameservers), std::move(resolv_conf)), policy_(std::move(policy)) {}

std::optional<std::string> Resolver::AnswerHere(const dns::Query& query) {
  const dns::Question& question = query.question;
  if (question.klass != dns::kInternet) return dns::BuildReply(query, dns::kRefused);
  std::optional<uint32_t> own;
  if (question.name == "gateway.atoll") own = kGatewayAddress;
  if (question.name == "host.atoll") own = kHostAddress;
  if (question.name == "localhost" || question.name.ends_with(".localhost")) own = 0x7F000001;
  if (own) {
    std::vector<uint32_t> addresses;
    if (question.type == dns::kA) addresses.push_back(*own);
    return dns::BuildReply(query, dns::kNoError, addresses);
  }
  if (question.name == "atoll" || question.name.ends_with(".atoll")) {
    return dns::BuildReply(query, dns::kNameError);
  }
  // There is no IPv6 inside; HTTPS and SVCB records carry addresses of their own.
  if (question.type == dns::kAaaa || question.type == dns::kHttps || question.type == dns::kSvcb) {
    return dns::BuildReply(query, dns::kNoError);
  }
  // How the host's networks are named is nothing to a sandbox.
  std::optional<uint32_t> reverse = dns::ReverseAddress(question.name);
  if (reverse && policy_->Refuses(*reverse)) return dns::BuildReply(query, dns::kNameError);
  return std::nullopt;
}

async::Task<std::string> Resolver::Answer(std::string message, DnsTransport transport) {
  Result<dns::Query> query = dns::ParseQuery(message);
  if (!query) {
    bool unknown = query.error().code == Code::kFailedPrecondition;
    std::optional<std::string> rejection =
        dns::BuildRejection(message, unknown ? dns::kNotImplemented : dns::kFormatError);
    co_return rejection.value_or(std::string());
  }
  std::optional<std::string> here = AnswerHere(*query);
  if (here) co_return *std::move(here);
  std::optional<Found> found = co_await Ask(query->question);
  if (!found) co_return dns::BuildReply(*query, dns::kServerFailure);
  auto rcode = static_cast<dns::Rcode>(found->answer.rcode);
  if (rcode != dns::kNoError && rcode != dns::kNameError) co_return dns::BuildReply(*query, rcode);
  for (uint32_t address : found->answer.addresses) {
    if (policy_->Refuses(address)) co_return dns::BuildReply(*query, dns::kRefused);
  }
  std::string reply = dns::BuildForwarded(*query, found->message, found->answer);
  if (transport == DnsTransport::kUdp && reply.size() > query->udp_size) {
    co_return dns::BuildTruncated(*query);
  }
  if (reply.size() > dns::kMaxMessage) co_return dns::BuildReply(*query, dns::kServerFailure);
  co_return reply;
}

async::Task<std::optional<Resolver::Found>> Resolver::Ask(dns::Question question) {
  Clock::time_point deadline = Clock::now() + kTotal;
  std::optional<Found> unhelpful;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<async::Endpoint> servers = nameservers_.Current();
    if (servers.empty()) co_return std::nullopt;
    for (const async::Endpoint& server : servers) {
      if (Clock::now() >= deadline) co_return unhelpful;
      std::optional<Found> found = co_await AskServer(server, question, deadline);
      if (!found) continue;
      uint8_t rcode = found->answer.rcode;
      if (rcode == dns::kNoError || rcode == dns::kNameError) co_return found;
      unhelpful = std::move(found);
    }
    // A server that answers, be it unhelpfully, says nothing else when asked again.
    if (unhelpful) co_return unhelpful;
    co_await async::Sleep(Remaining(deadline, kPauseBetweenRounds));
  }
  co_return unhelpful;
}

async::Task<std::optional<Resolver::Found>> Resolver::AskServer(async::Endpoint server,
                                                                dns::Question question,
                                                                Clock::time_point deadline) {
  Transaction transaction{.server = std::move(server), .question = std::move(question)};
  co_await async::WithTimeout(Remaining(deadline, kUdpTry), AskUdp(transaction));
  if (transaction.answered && transaction.answer.rcode == dns::kFormatError) {
    // A server from before EDNS.
    transaction.edns = transaction.answered = false;
    co_await async::WithTimeout(Remaining(deadline, kUdpTry), AskUdp(transaction));
  }
  if (transaction.answered && transaction.answer.truncated) {
    transaction.answered = false;
    co_await async::WithTimeout(Remaining(deadline, kTcpTry), AskTcp(transaction));
    // Cut off over TCP as well, there is nothing to pass on.
    if (transaction.answer.truncated) transaction.answered = false;
  }
  if (!transaction.answered) co_return std::nullopt;
  std::optional<Found> found;
  found.emplace();
  found->message = std::move(transaction.message);
  found->answer = std::move(transaction.answer);
  co_return found;
}

}  // namespace atl::egress
