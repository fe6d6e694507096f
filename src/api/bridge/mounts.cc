// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/buckets.h"
#include "api/v1/file_json.h"
#include "json/reader.h"

namespace atl::api::bridge {
namespace {

constexpr size_t kMostBody = 64UL << 10U;

async::Task<Result<void>> DoMount(const Services& services, Values values,
                                  http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMostBody));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  sandbox::BucketRequest request;
  CO_ASSIGN(request.bucket, body.Text("bucket"));
  CO_ASSIGN(request.path, body.Text("mountPath"));
  CO_ASSIGN(std::optional<json::Object> options, body.OptionalObject("options"));
  if (options) {
    CO_TRY(ParseBucketOptions(*options, request));
  }
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, values.at(0), exchange));
  CO_TRY(co_await services.registry.MountBucket(sandbox->id(), std::move(request)));
  co_return Result<void>();
}

async::Task<Result<void>> DoUnmount(const Services& services, Values values,
                                    http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMostBody));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  CO_ASSIGN(std::string path, body.Text("mountPath"));
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, values.at(0), exchange));
  CO_TRY(co_await services.registry.UnmountBucket(sandbox->id(), std::move(path)));
  co_return Result<void>();
}

}  // namespace

async::Task<> MountBucket(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> done = co_await DoMount(services, std::move(values), exchange);
  co_await RespondOk(exchange, std::move(done), kMountFailed);
}

async::Task<> UnmountBucket(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> done = co_await DoUnmount(services, std::move(values), exchange);
  co_await RespondOk(exchange, std::move(done), kUnmountFailed);
}

}  // namespace atl::api::bridge
