// SPDX-License-Identifier: Apache-2.0
// What is small, and what is not offered.
#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/terms.h"
#include "sandbox/exec.h"

namespace atl::api::sdk {
namespace {

// Of the SDK whose container server this stands for.
constexpr std::string_view kVersion = "0.12.10";
constexpr size_t kMostCommands = 1UL << 20U;
constexpr std::chrono::seconds kCommandsLimit{30};

async::Task<Result<std::string>> DoPing(Call& /*call*/) {
  json::Writer writer = Success();
  writer.Field("message", "pong");
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoVersion(Call& /*call*/) {
  json::Writer writer = Success();
  writer.Field("version", kVersion);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoCommands(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  sandbox::ExecRequest request;
  request.command = "compgen -c | LC_ALL=C sort -u";
  request.cwd = "/";
  request.timeout = kCommandsLimit;
  CO_ASSIGN(auto execution, co_await sandbox::StartExec(sandbox->agent(), std::move(request)));
  CO_ASSIGN(sandbox::Captured captured, co_await sandbox::Capture(*execution, kMostCommands));
  std::string_view names = captured.out;
  json::Writer writer = Success();
  writer.Key("availableCommands").BeginArray();
  size_t count = 0;
  for (size_t end = names.find('\n'); end != std::string_view::npos; end = names.find('\n')) {
    writer.String(names.substr(0, end));
    names.remove_prefix(end + 1);
    ++count;
  }
  writer.EndArray().Field("count", count);
  co_return Finished(writer);
}

Unexpected NotOffered(std::string message) {
  return Fail(Code::kFailedPrecondition, std::move(message), "NOT_OFFERED");
}

async::Task<Result<std::string>> RefuseRpc(Call& /*call*/) {
  co_return NotOffered("the RPC transport is not offered: use \"http\" or \"websocket\"");
}

async::Task<Result<std::string>> RefuseUploadParts(Call& /*call*/) {
  co_return NotOffered(
      "archives are snapshots, which are kept outside of the sandbox: there is nothing to upload");
}

}  // namespace

async::Task<> Root(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoPing, services, std::move(values), exchange);
}

async::Task<> Ping(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoPing, services, std::move(values), exchange);
}

async::Task<> Version(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoVersion, services, std::move(values), exchange);
}

async::Task<> ListCommands(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCommands, services, std::move(values), exchange);
}

async::Task<> NoRpc(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(RefuseRpc, services, std::move(values), exchange);
}

async::Task<> NoUploadParts(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(RefuseUploadParts, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
