// SPDX-License-Identifier: Apache-2.0
// Every metric of Atoll. Names and units follow https://prometheus.io/docs/practices/naming/.
#pragma once

#include <chrono>
#include <string_view>

#include "metrics/metrics.h"

namespace atl::metrics {

struct Atoll {
  Atoll();

  Set set;

  // By "result": "ok" or "error".
  Family<Histogram>& create_seconds;  // by "kind" before: "cold" or "pool"
  Family<Histogram>& claim_seconds;   // taking a sandbox out of the pool, the part of a create
  Family<Histogram>& wake_seconds;
  Family<Histogram>& start_seconds;
  Family<Histogram>& stop_seconds;
  Family<Histogram>& delete_seconds;
  Family<Histogram>& spawn_seconds;
  Family<Histogram>& snapshot_seconds;
  Family<Histogram>& restore_seconds;

  Counter& snapshot_added_bytes;
  Counter& snapshot_content_bytes;

  Family<Gauge>& pool_sandboxes;  // by "state"
  Family<Counter>& pool_claims;   // by "result": "hit" or "miss"

  Family<Counter>& http_requests;  // by "route", "status": "2xx"
  Gauge& http_requests_in_flight;
  Family<Counter>& errors;              // by "code", as clients see it
  Counter& proxy_received_bytes;        // from clients to what runs inside
  Counter& proxy_sent_bytes;            // from what runs inside to clients
  Family<Counter>& egress_connections;  // by "result": "ok", "refused" or "failed"
  Gauge& egress_open;
  Family<Counter>& egress_bytes;  // by "direction": "sent" or "received"
  Counter& dns_queries;
};

// The one of this process.
Atoll& Get();

// Counts an error that a client was told of. Codes come from many places, inside too: what is no
// code counts as `other`.
void CountError(std::string_view code);

// Observes how long it lived: as an error, unless it was told otherwise.
class Measure {
 public:
  explicit Measure(Family<Histogram>& family) : family_(&family) {}
  ~Measure();
  Measure(const Measure&) = delete;
  Measure& operator=(const Measure&) = delete;
  void Succeeded(bool success = true) { success_ = success; }
  // For families that have a label "kind".
  void SetKind(std::string_view kind) { kind_ = kind; }
  // Nothing was done that would be worth measuring.
  void Drop() { family_ = nullptr; }

 private:
  Family<Histogram>* family_;
  std::string_view kind_;  // a literal
  bool success_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace atl::metrics
