// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/v1/file_json.h"
#include "api/v1/terminal.h"
#include "http/websocket.h"
#include "sandbox/id.h"
#include "sandbox/sessions.h"

namespace atl::api::sdk {
namespace {

// A terminal that has no name ends so long after its only client.
constexpr std::chrono::seconds kLinger{1};

async::Task<Result<sandbox::TerminalSpec>> Prepare(const Services& services, std::string id,
                                                   http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  CO_ASSIGN(sandbox::TerminalSpec spec, TerminalSpecOf(request));
  std::string session = Query(request, "sessionId");
  bool named = !session.empty();
  if (!named) {
    session = "pty-" + sandbox::NewInternalId();
    spec.linger = kLinger;
  }
  spec.name = std::move(session);
  CO_TRY(sandbox::ValidateTerminal(spec));
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, std::move(id), exchange));
  if (named) co_await sandbox::BeginAsSession(sandbox->agent(), spec);
  co_return spec;
}

}  // namespace

async::Task<> Pty(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> asked = http::CheckWebSocketHandshake(exchange.request());
  if (!asked) {
    co_await http::RespondHandshakeError(exchange, std::move(asked).error());
    co_return;
  }
  Result<sandbox::TerminalSpec> spec = co_await Prepare(services, values.at(0), exchange);
  if (!spec) {
    co_await RespondFailure(exchange, std::move(spec).error());
    co_return;
  }
  co_await ShowTerminal(services, std::move(values[0]), *std::move(spec), exchange);
}

}  // namespace atl::api::sdk
