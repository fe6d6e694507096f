// SPDX-License-Identifier: Apache-2.0
#include "api/v1/process_wait.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "api/v1/processes.h"
#include "json/writer.h"

namespace atl::api {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kUsualLimitMs = 30'000;
constexpr int64_t kMostLimitMs = 86'400'000;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

Result<int64_t> Number(std::string_view text, std::string_view name, int64_t least, int64_t most) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && value >= least && value <= most) return value;
  return Invalid(fmt::format("\"{}\" is a number from {} to {}", name, least, most));
}

struct Wanted {
  std::string what;
  milliseconds limit{kUsualLimitMs};
  std::string pattern;
  bool regex = false;
  sandbox::PortProbe probe;
};

Result<void> ParseProbe(const http::RequestHead& request, sandbox::PortProbe& probe) {
  ASSIGN(int64_t port, Number(Query(request, "port"), "port", 1, 65535));
  probe.port = static_cast<uint16_t>(port);
  probe.path = Query(request, "path");
  bool plain = std::ranges::all_of(probe.path, [](char c) { return c > ' ' && c < 0x7f; });
  if (!probe.path.empty() && (probe.path[0] != '/' || probe.path.size() > 2048 || !plain)) {
    return Invalid("\"path\" begins with a slash and has no spaces");
  }
  std::string status = Query(request, "status");
  if (status.empty()) return {};
  size_t dash = std::min(status.find('-'), status.size());
  ASSIGN(int64_t least, Number(std::string_view(status).substr(0, dash), "status", 100, 599));
  int64_t most = least;
  if (dash < status.size()) {
    ASSIGN(most, Number(std::string_view(status).substr(dash + 1), "status", least, 599));
  }
  probe.least_status = static_cast<int>(least);
  probe.most_status = static_cast<int>(most);
  return {};
}

Result<Wanted> ParseWait(const http::RequestHead& request) {
  Wanted wanted{.what = Query(request, "for")};
  if (wanted.what.empty()) wanted.what = "exit";
  if (std::string limit = Query(request, "timeoutMs"); !limit.empty()) {
    ASSIGN(int64_t ms, Number(limit, "timeoutMs", 1, kMostLimitMs));
    wanted.limit = milliseconds(ms);
  }
  if (wanted.what == "port") {
    TRY(ParseProbe(request, wanted.probe));
  } else if (wanted.what == "log") {
    wanted.pattern = Query(request, "pattern");
    std::string regex = Query(request, "regex");
    if (wanted.pattern.empty() == regex.empty())
      return Invalid("give a \"pattern\" or a \"regex\"");
    wanted.regex = !regex.empty();
    if (wanted.regex) wanted.pattern = std::move(regex);
  } else if (wanted.what != "exit") {
    return Invalid(R"("for" is "exit", "log" or "port")");
  }
  return wanted;
}

async::Task<Result<std::string>> WaitFor(sandbox::AgentClient& agent, std::string id,
                                         Wanted wanted) {
  json::Writer writer;
  writer.BeginObject().Field("for", wanted.what);
  if (wanted.what == "exit") {
    CO_ASSIGN(auto info, co_await sandbox::WaitForExit(agent, std::move(id), wanted.limit));
    int signal = info.exited.signal;
    writer.Field("exitCode", signal != 0 ? 128 + signal : info.exited.exit_code);
    writer.Key("process");
    WriteProcess(writer, agent, info);
  } else if (wanted.what == "log") {
    CO_ASSIGN(auto match, co_await sandbox::WaitForLog(agent, std::move(id), wanted.pattern,
                                                       wanted.regex, wanted.limit));
    writer.Field("stream", match.err ? "stderr" : "stdout").Field("line", match.line);
    writer.Key("groups").BeginArray();
    for (const std::string& group : match.groups) writer.String(group);
    writer.EndArray();
  } else {
    CO_ASSIGN(int status,
              co_await sandbox::WaitForPort(agent, std::move(id), wanted.probe, wanted.limit));
    writer.Field("port", static_cast<int>(wanted.probe.port));
    if (status != 0) writer.Field("status", status);
  }
  writer.EndObject();
  co_return writer.Take();
}

async::Task<> WaitInto(sandbox::AgentClient& agent, std::string id, Wanted wanted,
                       Result<std::string>& json) {
  json = co_await WaitFor(agent, std::move(id), std::move(wanted));
}

}  // namespace

async::Task<> RespondWait(const Services& services, Values values, http::Exchange& exchange) {
  Result<Wanted> wanted = ParseWait(exchange.request());
  if (!wanted) {
    co_await http::RespondError(exchange, std::move(wanted).error());
    co_return;
  }
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
      co_await AcquireFor(services, std::move(values.at(0)), exchange);
  if (!sandbox) {
    co_await http::RespondError(exchange, std::move(sandbox).error());
    co_return;
  }
  Result<std::string> json = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(
      WaitInto((*sandbox)->agent(), std::move(values.at(1)), *std::move(wanted), json),
      exchange.WaitForHangup());
  co_await RespondResult(exchange, std::move(json));
}

}  // namespace atl::api
