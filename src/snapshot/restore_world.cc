// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace atl::snapshot {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kTellEvery = std::chrono::milliseconds(100);

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// The sandbox goes on however this ends.
class Pause {
 public:
  Pause(const std::function<Result<void>(bool)>& freeze, double& total_ms)
      : freeze_(freeze), total_ms_(total_ms) {}
  ~Pause() { (void)End(); }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

  Result<void> Begin() {
    if (!freeze_) return {};
    begin_ = Clock::now();
    begun_ = true;
    return freeze_(true);
  }
  Result<void> End() {
    if (!std::exchange(begun_, false)) return {};
    auto done = freeze_(false);
    total_ms_ += MillisecondsSince(begin_);
    return done;
  }

 private:
  const std::function<Result<void>(bool)>& freeze_;
  double& total_ms_;
  Clock::time_point begin_;
  bool begun_ = false;
};

}  // namespace

void RestoreMeter::Begin(std::string_view phase, uint64_t files_total, uint64_t bytes_total) {
  phase_ = phase;
  begin_ = Clock::now();
  files_total_ = files_total;
  bytes_total_ = bytes_total;
  files_done_ = 0;
  bytes_done_ = 0;
  next_ = (begin_ + kTellEvery).time_since_epoch().count();
}

void RestoreMeter::End() {
  auto same = [this](const auto& phase) { return phase.first == phase_; };
  auto known = std::ranges::find_if(result_.phases, same);
  if (known == result_.phases.end()) {
    result_.phases.emplace_back(phase_, 0);
    known = std::prev(result_.phases.end());
  }
  known->second += MillisecondsSince(begin_);
  Tell();
}

void RestoreMeter::Done(uint64_t files, uint64_t bytes) {
  files_done_.fetch_add(files, std::memory_order_relaxed);
  bytes_done_.fetch_add(bytes, std::memory_order_relaxed);
  auto now = Clock::now();
  Clock::rep next = next_.load(std::memory_order_relaxed);
  if (now.time_since_epoch().count() < next) return;
  if (next_.compare_exchange_strong(next, (now + kTellEvery).time_since_epoch().count())) Tell();
}

void RestoreMeter::Tell() {
  if (!on_progress_) return;
  std::lock_guard lock(mutex_);
  on_progress_({.phase = phase_,
                .files_done = files_done_,
                .files_total = files_total_,
                .bytes_done = bytes_done_,
                .bytes_total = bytes_total_});
}

Result<void> CommitChanges(RestoreWorld& world, std::unique_ptr<Stage> stage,
                           std::span<const protocol::Change> changes, bool freeze) {
  world.meter.Begin("commit", changes.size());
  TRY(stage->Prepare(changes));
  if (world.stop.stop_requested()) return Fail(Code::kCancelled, "the restore was given up");
  static const std::function<Result<void>(bool)> kNothing;
  Pause pause(freeze ? world.options.freeze : kNothing, world.result.freeze_ms);
  TRY(pause.Begin());
  world.obey_stop(false);
  auto committed = stage->Commit();
  auto continued = pause.End();
  if (!committed) return committed;
  world.meter.Done(changes.size(), 0);
  world.meter.End();
  world.meter.Begin("clean");
  TRY(stage->Finish());
  world.obey_stop(true);
  world.meter.End();
  return continued;
}

std::string StagedName(uint64_t number) { return fmt::format("{:x}", number); }

bool IsNoSpace(const Error& error) {
  return error.sys_errno == ENOSPC || error.sys_errno == EDQUOT || error.reason == "NO_SPACE";
}

}  // namespace atl::snapshot
