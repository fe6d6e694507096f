// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/file_json.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::api::bridge {
namespace {

// What the body says is for other places than this one.
async::Task<Result<std::string>> NewIdJson(http::Exchange& exchange) {
  CO_TRY(co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(std::string key, IdempotencyKey(exchange.request()));
  json::Writer writer;
  writer.BeginObject().Field("id", sandbox::NewId(key)).EndObject();
  co_return writer.Take();
}

}  // namespace

async::Task<> Create(const Services& /*services*/, Values /*values*/, http::Exchange& exchange) {
  Result<std::string> json = co_await NewIdJson(exchange);
  if (!json) {
    co_await RespondFailure(exchange, std::move(json).error(), kExecFailed);
    co_return;
  }
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> Delete(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> done = sandbox::ValidateId(values.at(0));
  if (done) done = co_await services.registry.Delete(values[0]);
  if (done) services.servers.Forget(values[0]);
  if (!done && done.error().code != Code::kNotFound) {
    co_await RespondFailure(exchange, std::move(done).error(), kExecFailed);
    co_return;
  }
  co_await RespondNothing(exchange);
}

async::Task<> Running(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
      co_await AcquireOrCreate(services, std::move(values.at(0)), exchange);
  if (!sandbox) {
    co_await RespondFailure(exchange, std::move(sandbox).error(), kExecFailed);
    co_return;
  }
  co_await RespondResult(exchange, R"({"running":true})");
}

}  // namespace atl::api::bridge
