// SPDX-License-Identifier: Apache-2.0
#include "metrics/atoll.h"

#include <algorithm>
#include <string>
#include <utility>

#include "metrics/process.h"

namespace atl::metrics {
namespace {

constexpr size_t kMaxCode = 48;
constexpr size_t kMaxCodes = 128;

Family<Histogram>& Operation(Set& set, std::string name, std::string help) {
  return set.AddFamily<Histogram>("atoll_" + name + "_duration_seconds", std::move(help),
                                  {"result"});
}

}  // namespace

Atoll::Atoll()
    : create_seconds(set.AddFamily<Histogram>(
          "atoll_sandbox_create_duration_seconds",
          "Making a sandbox that did not exist, until its agent answers.", {"kind", "result"})),
      claim_seconds(Operation(set, "pool_claim", "Taking a prepared sandbox out of the pool.")),
      wake_seconds(Operation(set, "sandbox_wake", "Waking a sandbox that is asleep.")),
      start_seconds(Operation(set, "sandbox_start",
                              "Starting a stopped sandbox, what it gets back included.")),
      stop_seconds(Operation(set, "sandbox_stop", "Stopping a sandbox, saving it included.")),
      delete_seconds(Operation(set, "sandbox_delete", "Deleting a sandbox.")),
      spawn_seconds(Operation(set, "run_spawn", "Starting a command, until its process exists.")),
      snapshot_seconds(Operation(set, "snapshot", "Taking a snapshot, until it is durable.")),
      restore_seconds(Operation(set, "restore", "Restoring a snapshot into a sandbox.")),
      snapshot_added_bytes(set.Add<Counter>("atoll_snapshot_added_bytes_total",
                                            "What snapshots have added to the repository.")),
      snapshot_content_bytes(
          set.Add<Counter>("atoll_snapshot_content_bytes_total",
                           "The files that snapshots hold, before deduplication.")),
      pool_sandboxes(set.AddFamily<Gauge>(
          "atoll_pool_sandboxes", "Prepared sandboxes that nobody has claimed yet.", {"state"})),
      pool_claims(set.AddFamily<Counter>("atoll_pool_claims_total",
                                         "Creates that asked the pool for a sandbox.", {"result"})),
      http_requests(set.AddFamily<Counter>("atoll_http_requests_total",
                                           "Requests that were answered, or given up.",
                                           {"route", "status"})),
      http_requests_in_flight(
          set.Add<Gauge>("atoll_http_requests_in_flight", "Requests that are being answered.")),
      errors(set.AddFamily<Counter>("atoll_errors_total",
                                    "Errors that clients were told of, by their code.", {"code"},
                                    kMaxCodes)),
      proxy_received_bytes(
          set.Add<Counter>("atoll_proxy_received_bytes_total",
                           "Bodies of requests that were passed to programs in sandboxes.")),
      proxy_sent_bytes(
          set.Add<Counter>("atoll_proxy_sent_bytes_total",
                           "Bodies of answers that were passed from programs in sandboxes.")),
      egress_connections(set.AddFamily<Counter>("atoll_egress_connections_total",
                                                "Connections that sandboxes have asked for.",
                                                {"result"})),
      egress_open(set.Add<Gauge>("atoll_egress_connections_open",
                                 "Connections out of sandboxes that are open.")),
      egress_bytes(set.AddFamily<Counter>("atoll_egress_bytes_total",
                                          "Bytes of connections out of sandboxes that have ended.",
                                          {"direction"})),
      dns_queries(set.Add<Counter>("atoll_egress_dns_queries_total", "DNS queries of sandboxes.")) {
  AddProcessMetrics(set);
  set.AddCollected("atoll_build_info", "The version that runs; always 1.", Type::kGauge, [] {
    return std::vector<Sample>{{.labels = {{"version", ATOLL_VERSION}}, .value = 1}};
  });
}

Atoll& Get() {
  // Never destroyed: threads count until the process ends.
  static Atoll* const atoll = new Atoll();
  return *atoll;
}

void CountError(std::string_view code) {
  bool plain = !code.empty() && code.size() <= kMaxCode && std::ranges::all_of(code, [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
  Get().errors.With({plain ? code : kOther}).Add();
}

Measure::~Measure() {
  if (family_ == nullptr) return;
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
  std::string_view result = success_ ? "ok" : "error";
  Histogram& histogram = kind_.empty() ? family_->With({result}) : family_->With({kind_, result});
  histogram.Observe(took.count());
}

}  // namespace atl::metrics
