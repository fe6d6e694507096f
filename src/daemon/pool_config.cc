// SPDX-License-Identifier: Apache-2.0
#include "daemon/pool_config.h"

#include "snapshot/policy.h"

namespace atl::daemon {
namespace {

constexpr uint32_t kMost = 1000;
constexpr uint32_t kMostInstances = 100'000;
constexpr uint32_t kLargestBatch = 20;
constexpr double kMostLoad = 100'000;

}  // namespace

Result<sandbox::PoolOptions> ReadPool(Source& source) {
  sandbox::PoolOptions pool{.warm_target = 1};
  TRY(source.Read("pool", "warm_target", pool.warm_target, 0, kMost));
  TRY(source.Read("pool", "max_instances", pool.max_instances, 0, kMostInstances));
  TRY(source.Read("pool", "scale_batch_size", pool.scale_batch_size, 1, kLargestBatch));
  TRY(source.Read("pool", "min", pool.min, 0, kMost));
  TRY(source.Read("pool", "max", pool.max, 0, kMost));
  std::string interval;
  TRY(source.Read("pool", "refresh_interval", interval));
  if (!interval.empty()) {
    auto duration = snapshot::ParseDuration(interval);
    if (!duration || duration->count() < 1) {
      return Bad("[pool]", "refresh_interval", "must be a time such as 10s");
    }
    pool.refresh_interval = *duration;
  }
  TRY(source.Read("pool", "opencode", pool.opencode));
  TRY(source.Read("pool", "templates", pool.templates));
  TRY(source.Read("pool", "criu", pool.criu));
  TRY(source.ReadList("pool", "images", pool.images));
  TRY(source.ReadBytes("pool", "free_memory", pool.free_memory));
  TRY(source.Read("pool", "max_load", pool.max_load, 0, kMostLoad));
  return pool;
}

}  // namespace atl::daemon
