// SPDX-License-Identifier: Apache-2.0
#include "api/v1/pool.h"

#include "api/v1/answers/sandboxes.h"
#include "json/writer.h"

namespace atl::api {
namespace {

std::string StatsJson(const sandbox::PoolStats& stats) {
  const sandbox::PoolOptions& options = stats.options;
  json::Writer writer;
  writer.BeginObject();
  writer.Field("warm", uint64_t{stats.warm}).Field("assigned", uint64_t{stats.assigned});
  writer.Field("total", uint64_t{stats.warm + stats.assigned});
  writer.Field("starting", uint64_t{stats.starting}).Field("wanted", uint64_t{stats.wanted});
  writer.Field("hits", stats.hits).Field("misses", stats.misses);
  writer.Key("config").BeginObject();
  writer.Field("warmTarget", uint64_t{options.warm_target});
  writer.Field("refreshInterval", static_cast<uint64_t>(options.refresh_interval.count()));
  writer.Field("min", uint64_t{options.min}).Field("max", uint64_t{options.max});
  writer.Field("maxInstances", uint64_t{options.max_instances});
  writer.Field("scaleBatchSize", uint64_t{options.scale_batch_size});
  writer.EndObject();
  writer.Key("maxInstances");
  if (options.max_instances == 0) {
    writer.Null();
  } else {
    writer.Uint(options.max_instances);
  }
  writer.EndObject();
  return writer.Take();
}

async::Task<> Stats(const Services& services, Values /*values*/, http::Exchange& exchange) {
  co_await RespondResult(exchange, StatsJson(services.registry.pool_stats()));
}

async::Task<> Prime(const Services& services, Values /*values*/, http::Exchange& exchange) {
  services.registry.PrimePool();
  co_await RespondResult(exchange, R"({"ok":true})");
}

async::Task<> Empty(const Services& services, Values /*values*/, http::Exchange& exchange) {
  co_await services.registry.EmptyPool();
  co_await RespondResult(exchange, R"({"ok":true})");
}

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/pool/stats",
     .operation = "getPoolStats",
     .summary = "How many sandboxes wait, and how many were given away.",
     .handler = Stats,
     .returns = &answers::kPool},
    {.method = "POST",
     .pattern = "/v1/pool/prime",
     .operation = "primePool",
     .summary = "Fills the pool now.",
     .handler = Prime,
     .returns = &answers::kOk},
    {.method = "POST",
     .pattern = "/v1/pool/shutdown-prewarmed",
     .operation = "shutdownPrewarmed",
     .summary = "Ends the sandboxes that wait.",
     .handler = Empty,
     .returns = &answers::kOk},
};

}  // namespace

std::span<const Route> PoolRoutes() { return kRoutes; }

}  // namespace atl::api
