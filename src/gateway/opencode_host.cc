// SPDX-License-Identifier: Apache-2.0
// `<id>`: the seed's routes, then OpenCode.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "gateway/event_source.h"
#include "gateway/gateway.h"
#include "gateway/header_policy.h"
#include "gateway/opencode_policy.h"
#include "gateway/page_health.h"
#include "gateway/pages.h"
#include "gateway/reverse_proxy.h"
#include "http/sse.h"

namespace atl::gateway {
namespace {

// How long a request waits for OpenCode, whose start has its own limit, which ends first and says
// more.
constexpr std::chrono::milliseconds kHoldLimit{210'000};
// OpenCode itself has no limit and keeps the whole body in memory.
constexpr uint64_t kBodyLimit = 64UL << 20U;
constexpr int kDialAttempts = 2;

async::Task<> RespondRedirect(http::Exchange& exchange, std::string location) {
  http::ResponseHead head;
  head.status = 302;
  head.headers.Add("Location", std::move(location));
  head.headers.Add("Cache-Control", "no-store");
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

}  // namespace

bool IsBlockedPath(std::string_view path) {
  // /global/upgrade replaces the binary, /doc stalls the server for seconds.
  constexpr std::array<std::string_view, 2> kBlocked = {"/global/upgrade", "/doc"};
  std::optional<std::string> decoded = http::PercentDecode(path);
  std::string_view text = decoded ? std::string_view(*decoded) : path;
  std::string plain;
  for (char c : text) {
    if (c != '/' || !plain.ends_with('/')) plain += c;
  }
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  return std::ranges::any_of(
      kBlocked, [&](std::string_view one) { return http::EqualsIgnoreCase(plain, one); });
}

async::Task<> Gateway::HandleSandbox(std::string id, http::Exchange& exchange) {
  bool answered = co_await seed_(id, exchange);
  if (answered) co_return;
  if (registry_.Find(id)) {
    co_await ServeOpencode(std::move(id), exchange);
  } else if (IsNavigation(exchange.request())) {
    co_await RespondCreate(exchange, std::move(id));
  } else {
    Error missing{.code = Code::kNotFound,
                  .message = fmt::format("there is no sandbox {}; POST /create makes it", id),
                  .reason = "SANDBOX_NOT_FOUND"};
    co_await http::RespondError(exchange, std::move(missing));
  }
}

// Answers with a file of the UI that is kept, whatever OpenCode does meanwhile: true when it has.
async::Task<bool> Gateway::ServeUi(const std::string& id, http::Exchange& exchange) {
  if (options_.ui == nullptr) co_return false;
  bool navigation = IsNavigation(exchange.request());
  const opencode::UiFile* file = options_.ui->Match(exchange.request(), navigation);
  if (file == nullptr) co_return false;
  if (options_.ui->IsPage(*file)) {
    // The page would show that nothing answers, but not why.
    if (servers_.status(id) == opencode::Status::kFailed) co_return false;
    servers_.Start(id);
  }
  bool answered = co_await options_.ui->Answer(*file, exchange);
  co_return answered;
}

// Neither uses a sandbox nor wakes or starts it: true when it has answered.
async::Task<bool> Gateway::AnswerPageHealth(const std::string& id, http::Exchange& exchange) {
  if (options_.event_stream_is_activity || !IsPageHealth(exchange.request())) co_return false;
  std::optional<sandbox::Info> info = registry_.Find(id);
  opencode::Status status = servers_.status(id);
  if (!info || status == opencode::Status::kFailed) co_return false;
  bool runs = info->state == sandbox::State::kRunning;
  std::shared_ptr<sandbox::Sandbox> sandbox;
  if (runs && status == opencode::Status::kReady) sandbox = registry_.Observe(id);
  if (sandbox) {
    Result<async::Stream> upstream = co_await sandbox->agent().Dial(opencode::kPort);
    if (!upstream) co_return false;
    ProxyPolicy policy{.strip_cors = true};
    co_await ProxyTo(exchange, std::move(*upstream), policy);
    co_return true;
  }
  // Nothing is under way that would make it true.
  if (runs && status == opencode::Status::kStopped) servers_.Start(id);
  std::string answer = HealthyAnswer(exchange.request().path());
  Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(answer));
  (void)sent;  // the client has gone away
  co_return true;
}

namespace {

async::Task<> PassHeld(http::Exchange& exchange, const EventSource& source) {
  http::RequestHead head = UpstreamHead(exchange.request(), exchange.peer(), false);
  Error end = co_await PassEvents(exchange, nullptr, std::move(head), source);
  (void)end;  // the client connects again and is told
}

}  // namespace

// A page that was left open connects again whenever its stream breaks off, be it that the daemon
// was replaced. In a sandbox that does not run it waits until that does: true when it has.
async::Task<bool> Gateway::HoldEvents(const std::string& id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  if (options_.event_stream_is_activity || request.method != "GET") co_return false;
  if (!IsEventPath(request.path()) || !IsFromPage(request)) co_return false;
  std::optional<sandbox::Info> info = registry_.Find(id);
  bool rests =
      info && (info->state == sandbox::State::kPaused || info->state == sandbox::State::kStopping ||
               info->state == sandbox::State::kStopped);
  if (!rests) co_return false;
  EventSource source = SourceOfEvents(registry_, servers_, id, info->iid, nullptr);
  http::ResponseHead head = http::EventStreamHead();
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (begun) begun = co_await exchange.Write(":\n\n");
  if (begun) co_await async::Race(PassHeld(exchange, source), exchange.WaitForHangup());
  exchange.Abort();
  co_return true;
}

namespace {

async::Task<> WaitReadyInto(opencode::Servers& servers, std::string id, Result<void>& ready,
                            sandbox::Waited& waited) {
  ready = co_await servers.WaitReady(std::move(id), kHoldLimit, &waited);
}

}  // namespace

// True when OpenCode is ready; otherwise the exchange has been answered.
async::Task<bool> Gateway::HoldUntilReady(const std::string& id, http::Exchange& exchange,
                                          sandbox::Waited& waited) {
  if (servers_.status(id) == opencode::Status::kReady) co_return true;
  bool navigation = IsNavigation(exchange.request());
  std::string failure = servers_.failure(id);
  if (navigation && (options_.ui == nullptr || !failure.empty())) {
    servers_.Start(id);
    co_await RespondHolding(exchange, id, std::move(failure));
    co_return false;
  }
  Result<void> ready = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(WaitReadyInto(servers_, id, ready, waited), exchange.WaitForHangup());
  if (ready) co_return true;
  bool answered = co_await http::AnsweredElsewhere(exchange, ready.error());
  if (answered) co_return false;
  if (navigation) {
    co_await RespondHolding(exchange, id, std::move(ready).error().message);
  } else {
    co_await http::RespondError(exchange, std::move(ready).error());
  }
  co_return false;
}

async::Task<> Gateway::ServeOpencode(std::string id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  if (IsBlockedPath(request.path())) {
    Error blocked{.code = Code::kPermissionDenied,
                  .message = fmt::format("{} is not served here", request.path())};
    co_await http::RespondError(exchange, std::move(blocked));
    co_return;
  }
  if (request.path() == "/" && IsNavigation(request)) {
    co_await RespondRedirect(exchange, opencode::LandingPath("/workspace"));
    co_return;
  }
  bool served = co_await ServeUi(id, exchange);
  if (!served) served = co_await AnswerPageHealth(id, exchange);
  if (!served) served = co_await HoldEvents(id, exchange);
  if (served) co_return;
  Error failure;
  for (int attempt = 0; attempt < kDialAttempts; ++attempt) {
    sandbox::Waited waited;
    bool ready = co_await HoldUntilReady(id, exchange, waited);
    if (!ready) co_return;
    Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await registry_.Acquire(id, &waited);
    waited.SayIn(exchange);
    if (!sandbox) {
      failure = std::move(sandbox).error();
      break;
    }
    Result<async::Stream> upstream = co_await (*sandbox)->agent().Dial(opencode::kPort);
    if (upstream) {
      ProxyPolicy policy{.body_limit = kBodyLimit, .strip_cors = true};
      // An open tab listens all the time; that alone keeps no sandbox awake.
      bool listens = !options_.event_stream_is_activity && IsEventPath(request.path());
      EventSource events;
      if (listens) {
        events = SourceOfEvents(registry_, servers_, id, (*sandbox)->iid(), &*sandbox);
        policy.events = &events;
      }
      co_await ProxyTo(exchange, std::move(*upstream), policy);
      co_return;
    }
    // It was ready and is gone: the next round starts it again.
    failure = std::move(upstream).error();
    servers_.Doubt(id);
  }
  co_await http::RespondError(exchange, std::move(failure));
}

}  // namespace atl::gateway
