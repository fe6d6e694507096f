// SPDX-License-Identifier: Apache-2.0
#include "api/v1/pool.h"

#include <fmt/format.h>

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

async::Task<> Answer(http::Exchange& exchange, std::string json) {
  Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(json));
  (void)sent;  // the client has gone away
}

}  // namespace

async::Task<> HandlePool(const Services& services, std::vector<std::string> rest,
                         http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  std::string name = rest.size() == 1 ? rest[0] : std::string();
  bool stats = name == "stats";
  bool prime = name == "prime";
  bool empty = name == "shutdown-prewarmed";
  bool read = request.method == "GET" || request.method == "HEAD";
  if (!stats && !prime && !empty) {
    Error error{.code = Code::kNotFound,
                .message = fmt::format("there is nothing at {:.200}", request.path())};
    co_await http::RespondError(exchange, std::move(error));
  } else if (stats ? !read : request.method != "POST") {
    co_await RespondMethodNotAllowed(exchange, stats ? "GET, HEAD" : "POST");
  } else if (stats) {
    co_await Answer(exchange, StatsJson(services.registry.pool_stats()));
  } else {
    if (prime) services.registry.PrimePool();
    if (empty) co_await services.registry.EmptyPool();
    co_await Answer(exchange, R"({"ok":true})");
  }
}

}  // namespace atl::api
