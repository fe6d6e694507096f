// SPDX-License-Identifier: Apache-2.0
// What can be configured, and where it is read from: a TOML file, the environment
// (ATOLL_<SECTION>_<KEY>) which goes before the file, and .dev.vars for provider keys.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/stream.h"
#include "base/result.h"
#include "daemon/config_source.h"
#include "daemon/limits_config.h"
#include "daemon/pool_config.h"
#include "daemon/snapshot_config.h"
#include "egress/model_gateway.h"
#include "sandbox/buckets.h"
#include "sandbox/sleep_policy.h"

namespace atl::daemon {

struct ModelConfig {
  egress::ModelOptions upstream;
  std::string model;
  std::string small_model;
};

struct Config {
  std::vector<std::string> listen = {"127.0.0.1:8787", "[::1]:8787"};
  std::string domain = "localhost";
  std::string state_dir = "/var/lib/atoll";
  std::string run_dir = "/run/atoll";
  std::string log_level = "info";
  std::string log_format = "text";

  // [sandbox]
  std::string image = "default";
  uint64_t memory_bytes = 4ULL << 30U;
  double cpus = 2;
  uint64_t pids = 2048;
  std::string cgroup = "atoll";
  bool cgroup_favordynmods = true;
  std::string images_dir;    // default: <state_dir>/images
  std::string opencode_dir;  // default: <state_dir>/opencode

  // [egress]
  std::vector<uint16_t> host_ports;
  std::vector<std::string> nameservers;
  std::vector<std::string> deny;

  ModelConfig model;

  SnapshotConfig snapshots;

  LimitsConfig limits;
  // [sleep]
  sandbox::SleepPolicy sleep;
  bool event_stream_is_activity = false;
  double busy_cpus = 0.1;
  std::chrono::seconds reclaim_after{60};
  bool keep_memory = false;

  sandbox::PoolOptions pool;
  sandbox::BucketSecrets buckets;

  std::string opencode_binary() const;
  std::string opencode_ui_dir() const;  // where its UI is kept, if it is
};

Environment ProcessEnvironment();

// `file`: --config's value; empty: ./atoll.toml, then /etc/atoll/atoll.toml, then defaults alone.
// Unknown keys, wrong types and values out of range are errors that name the key and the file.
Result<Config> LoadConfig(const std::string& file, const Environment& environment);

// Lines KEY=value, # comments, optional quotes and `export`, as wrangler reads its .dev.vars.
std::vector<std::pair<std::string, std::string>> ParseDevVars(std::string_view text);

// The loopback rule: without authentication the daemon serves this machine only.
Result<std::vector<async::Endpoint>> ListenEndpoints(const Config& config);

}  // namespace atl::daemon
