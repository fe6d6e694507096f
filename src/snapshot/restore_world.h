// SPDX-License-Identifier: Apache-2.0
// What the parts of one restore share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/tree.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/progress.h"
#include "snapshot/restore.h"
#include "snapshot/restore_plan.h"
#include "snapshot/restore_trees.h"

namespace atl::snapshot {

// Times phases and tells of progress, at most every 100 ms.
class RestoreMeter {
 public:
  RestoreMeter(OnProgress on_progress, RestoreResult& result)
      : on_progress_(std::move(on_progress)), result_(result) {}

  void Begin(std::string_view phase, uint64_t files_total = 0, uint64_t bytes_total = 0);
  // The phase is over; a phase may come several times.
  void End();
  // From any thread.
  void Done(uint64_t files, uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void Tell();

  OnProgress on_progress_;
  RestoreResult& result_;
  std::string_view phase_;
  Clock::time_point begin_;
  uint64_t files_total_ = 0;
  uint64_t bytes_total_ = 0;
  std::atomic<uint64_t> files_done_ = 0;
  std::atomic<uint64_t> bytes_done_ = 0;
  std::atomic<Clock::rep> next_ = 0;
  std::mutex mutex_;
};

struct RestoreWorld {
  repository::Repository& repository;
  SnapshotTrees& trees;
  AgentTree& tree;
  const KeptPaths& kept;
  const RestoreOptions& options;
  RestoreResult& result;
  RestoreMeter& meter;
  std::string dir;
  int workers = 1;
  std::stop_source stop;
  // Whether the caller's stop token counts: during a commit, stopping would only hide what happens.
  std::function<void(bool)> obey_stop;
};

// Prepares, then commits while the sandbox stands still (if `freeze`), then waits for the rest.
Result<void> CommitChanges(RestoreWorld& world, std::unique_ptr<Stage> stage,
                           std::span<const protocol::Change> changes, bool freeze);

// Entries of the stage are numbered.
std::string StagedName(uint64_t number);
bool IsNoSpace(const Error& error);

}  // namespace atl::snapshot
