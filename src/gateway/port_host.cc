// SPDX-License-Identifier: Apache-2.0
// `<port>-<id>` and `<port>-<id>--<token>`: whatever listens on that port inside the sandbox, for
// its owner and for whoever has its preview URL.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "gateway/gateway.h"
#include "gateway/pages.h"
#include "gateway/preview_access.h"
#include "gateway/reverse_proxy.h"
#include "sandbox/ports.h"

namespace atl::gateway {
namespace {

constexpr size_t kShownPorts = 8;

// The same failure for people and for programs.
async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string title, bool retry) {
  if (!IsNavigation(exchange.request())) {
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  int status = HttpStatus(error.code);
  co_await RespondSentence(exchange, status, std::move(title), std::move(error.message), retry);
}

int64_t SecondsUntil(int64_t unix_ms) {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return unix_ms / 1000 - std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

// "3000 (node)"
std::vector<std::string> Describe(const std::vector<sandbox::ListeningSocket>& sockets) {
  std::vector<std::string> described;
  for (const sandbox::ListeningSocket& one : sockets) {
    std::string text =
        one.name.empty() ? fmt::to_string(one.port) : fmt::format("{} ({})", one.port, one.name);
    if (std::ranges::find(described, text) != described.end()) continue;
    if (described.size() == kShownPorts) break;
    described.push_back(std::move(text));
  }
  return described;
}

}  // namespace

// False when it has answered. `iid`: of the sandbox that the URL was made for.
async::Task<bool> Gateway::AdmitPreview(const PortHost& host, http::Exchange& exchange,
                                        std::string& iid) {
  const http::RequestHead& request = exchange.request();
  Result<sandbox::Exposure> exposure =
      ports_.Admit(host.id, host.port, host.token, ShownSignatures(request));
  if (!exposure) {
    co_await RespondFailure(exchange, std::move(exposure).error(), "Not a valid preview", false);
    co_return false;
  }
  iid = exposure->iid;
  if (!exposure->is_signed || !HasSignatureInUrl(request) || !IsNavigation(request)) co_return true;
  http::ResponseHead head = SignatureToCookie(request, SecondsUntil(exposure->expires_at_ms));
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
  co_return false;
}

async::Task<> Gateway::RespondNothingListens(PortHost host, http::Exchange& exchange) {
  Error error{
      .code = Code::kBadGateway,
      .message = fmt::format("Nothing listens on port {} in the sandbox {}.", host.port, host.id),
      .reason = "SERVICE_NOT_RESPONDING"};
  if (!IsNavigation(exchange.request())) {
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  std::vector<std::string> others;
  // Who was given one port is told nothing of others.
  if (host.token.empty()) {
    Result<sandbox::Listening> listening = co_await ports_.ListeningIn(host.id);
    if (listening) others = Describe(listening->sockets);
  }
  co_await RespondNothingOnPort(exchange, std::move(host.id), host.port, std::move(others));
}

async::Task<> Gateway::HandlePort(PortHost host, http::Exchange& exchange) {
  std::string iid;
  if (!host.token.empty()) {
    bool admitted = co_await AdmitPreview(host, exchange, iid);
    if (!admitted) co_return;
  }
  // Pages of a preview are the sandbox's programs' and must not drive OpenCode through a browser.
  if (host.port == opencode::kPort) {
    Error refused{.code = Code::kPermissionDenied,
                  .message = fmt::format("OpenCode is served under the name {} alone.", host.id)};
    co_await RespondFailure(exchange, std::move(refused), "Not a preview", false);
    co_return;
  }
  sandbox::Waited waited;
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await registry_.Acquire(host.id, &waited);
  waited.SayIn(exchange);
  if (!sandbox) {
    bool missing = ReasonOf(sandbox.error()) == "SANDBOX_NOT_FOUND";
    co_await RespondFailure(exchange, std::move(sandbox).error(),
                            missing ? "No such sandbox" : "The sandbox is not available", !missing);
    co_return;
  }
  if (!iid.empty() && (*sandbox)->iid() != iid) {
    Error stale{.code = Code::kGone,
                .message = "This preview URL is no longer valid: its sandbox was deleted.",
                .reason = "STALE_PREVIEW_URL"};
    co_await RespondFailure(exchange, std::move(stale), "Not a valid preview", false);
    co_return;
  }
  if (host.port == (*sandbox)->relay_port()) {
    co_await RespondNothingListens(std::move(host), exchange);
    co_return;
  }
  ProxyPolicy policy;
  http::RequestHead without;
  if (!host.token.empty()) {
    without = WithoutSignatures(exchange.request());
    policy.request = &without;
    policy.is_preview = true;
  }
  bool passed = co_await PassThroughKept(**sandbox, host.port, exchange, policy);
  if (passed) co_return;
  Result<async::Stream> upstream = co_await (*sandbox)->agent().Dial(host.port);
  if (!upstream) {
    Error error = std::move(upstream).error();
    if (error.code == Code::kUnavailable || error.reason == "SERVICE_NOT_RESPONDING") {
      co_await RespondNothingListens(std::move(host), exchange);
      co_return;
    }
    error.code = Code::kBadGateway;
    co_await RespondFailure(exchange, std::move(error),
                            fmt::format("Port {} does not answer", host.port), true);
    co_return;
  }
  co_await ProxyTo(exchange, std::move(*upstream), policy);
}

// Through a connection that has waited, if there is one and the request may be repeated: true when
// that has answered. `policy` keeps connections from then on.
async::Task<bool> Gateway::PassThroughKept(const sandbox::Sandbox& sandbox, uint16_t port,
                                           http::Exchange& exchange, ProxyPolicy& policy) {
  policy.keep = [this, iid = sandbox.iid(), port](async::Stream stream) {
    upstreams_.Keep(iid, port, std::move(stream));
  };
  if (!MayBeRepeated(exchange.request())) co_return false;
  async::Executor executor = co_await async::ThisExecutor();
  while (std::optional<async::Stream> kept = upstreams_.Take(executor, sandbox.iid(), port)) {
    bool stale = false;
    policy.stale = &stale;
    co_await ProxyTo(exchange, std::move(*kept), policy);
    policy.stale = nullptr;
    if (!stale) co_return true;
  }
  co_return false;
}

}  // namespace atl::gateway
