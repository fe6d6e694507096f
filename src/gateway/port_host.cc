// SPDX-License-Identifier: Apache-2.0
// `<port>-<id>`: whatever listens on that port inside the sandbox.
#include <fmt/format.h>

#include "gateway/gateway.h"
#include "gateway/pages.h"
#include "gateway/reverse_proxy.h"

namespace atl::gateway {
namespace {

// The same failure for people and for programs.
async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string title, bool retry) {
  if (!IsNavigation(exchange.request())) {
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  int status = HttpStatus(error.code);
  co_await RespondSentence(exchange, status, std::move(title), std::move(error.message), retry);
}

}  // namespace

async::Task<> Gateway::HandlePort(PortHost host, http::Exchange& exchange) {
  if (!registry_.Find(host.id)) {
    Error missing{.code = Code::kNotFound,
                  .message = fmt::format("There is no sandbox {}.", host.id),
                  .reason = "SANDBOX_NOT_FOUND"};
    co_await RespondFailure(exchange, std::move(missing), "No such sandbox", false);
    co_return;
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
    co_await RespondFailure(exchange, std::move(sandbox).error(), "The sandbox is not available",
                            true);
    co_return;
  }
  Result<async::Stream> upstream = co_await (*sandbox)->agent().Dial(host.port);
  if (!upstream) {
    Error error = std::move(upstream).error();
    if (error.code == Code::kUnavailable || error.reason == "SERVICE_NOT_RESPONDING") {
      error.message =
          fmt::format("Nothing listens on port {} in the sandbox {}.", host.port, host.id);
      error.reason = "SERVICE_NOT_RESPONDING";
    }
    error.code = Code::kBadGateway;
    co_await RespondFailure(exchange, std::move(error),
                            fmt::format("Port {} does not answer", host.port), true);
    co_return;
  }
  co_await ProxyTo(exchange, std::move(*upstream), ProxyPolicy());
}

}  // namespace atl::gateway
