// SPDX-License-Identifier: Apache-2.0
// What keeps the warm pool: makes members one after the other when the host has nothing better to
// do, gives each away once, replaces those that were made of what is old.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "async/mutex.h"
#include "sandbox/pool.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {

struct Registry::WarmPool {
  using EntryPtr = Impl::EntryPtr;
  using Clock = std::chrono::steady_clock;
  class CreateCount;

  WarmPool(Impl& of, PoolOptions with, PoolHooks by)
      : impl(of), options(std::move(with)), hooks(std::move(by)) {}

  // Until the daemon ends.
  async::Task<> Run();
  void Wake();

  bool HasImage(const std::string& image) const {
    return std::ranges::find(options.images, image) != options.images.end();
  }
  // For a sandbox that `wanted` describes: one that waits, taken out. Null: there is none. Blocks.
  EntryPtr Take(const Row& wanted);
  // Whether members are made for sandboxes such as this one.
  bool Serves(const Row& wanted) const;
  // Whether one waits that it could become, as far as that can be told without looking at files.
  bool IsReadyFor(const Row& wanted) const;
  Result<std::string> KeyOf(const std::string& image) const;
  void Waits(EntryPtr member);
  void Report() const;  // with the mutex held

  // Members whose files, image or program are not what they should be, and those that are too many.
  async::Task<> Retire(EntryPtr member, std::string why);
  async::Task<> RetireAll(std::vector<EntryPtr> members, std::string why);

  // Ends the one that has waited longest, for somebody who needs the memory. False: none waits, or
  // all of them hold less than is missing.
  async::Task<bool> MakeRoom(uint64_t missing);

  // What an earlier daemon left.
  async::Task<> AdoptAll();
  // Removes those whose agent does not answer.
  async::Task<> Examine();
  // True: there is more to do soon.
  async::Task<bool> Round();
  async::Task<bool> RoundOf(std::string image);
  async::Task<> MakeOne(std::string image, std::string key);
  async::Task<Result<void>> Prepare(EntryPtr member);
  async::Task<Result<void>> Rest(EntryPtr member, sys::Cgroup cgroup, bool reclaim);
  // One entry in the state that its row announces, with a row. The lock is the caller's.
  async::Task<Result<void>> Launch(EntryPtr member, Row row, std::string checkpoint = {});
  // template.cc. A template is a checkpoint of a sandbox that was prepared as a member and that
  // nobody has had.
  std::string TemplateDir(const std::string& key) const;
  // The one that `wanted` can be started from; "" when there is none. Blocks.
  std::string TemplateFor(const Row& wanted);
  void NoteTemplate(const std::string& dir, bool works);
  // Makes it where it is wanted, there is none and the host can afford it. True: try again soon.
  async::Task<bool> TemplateRound(std::string image, std::string key, HostLoad load);
  async::Task<Result<void>> MakeTemplate(std::string image, std::string key);
  async::Task<Result<void>> DumpTemplate(EntryPtr member, std::string part);
  // Copies that nobody will have: none may draw what another draws.
  async::Task<Result<void>> MakeDifferent(Row row, std::string part);
  async::Task<Result<std::vector<std::string>>> TryTemplate(Row row, std::string part);
  // Those of what is not made any more, and what a daemon that was killed left. Blocks.
  void RemoveOldTemplates() const;
  // Nobody is making a sandbox, nor was a moment ago.
  bool IsQuiet();
  std::vector<EntryPtr> TakeStale(const std::string& image, const std::string& key,
                                  int64_t surplus);

  Impl& impl;
  const PoolOptions options;
  const PoolHooks hooks;

  std::atomic<bool> ending = false;
  async::Event ended;
  std::atomic<int> creating = 0;  // that many sandboxes of somebody's
  mutable std::mutex mutex;       // guards what follows; impl.mutex may be taken with it held
  std::vector<EntryPtr> waiting;
  std::map<std::string, Demand> demand;
  Clock::time_point created_at;  // the last one that was somebody's
  Clock::time_point hold_until;  // no member is made before
  uint64_t generation = 0;       // members that were begun in an earlier one are not kept
  size_t starting = 0;
  int failures = 0;  // in a row
  Clock::time_point template_hold_until;
  int template_failures = 0;                       // of making one, in a row
  std::map<std::string, int> template_complaints;  // of one that was made, in a row, by directory
  uint64_t hits = 0;
  uint64_t misses = 0;
  std::shared_ptr<async::Event> wake = std::make_shared<async::Event>();
};

// Keeps the pool from making members as long as a sandbox is made for somebody.
class Registry::WarmPool::CreateCount {
 public:
  explicit CreateCount(WarmPool* pool) : pool_(pool) {
    if (pool_ != nullptr) ++pool_->creating;
  }
  ~CreateCount() {
    if (pool_ == nullptr) return;
    --pool_->creating;
    std::lock_guard guard(pool_->mutex);
    pool_->created_at = Clock::now();
  }
  CreateCount(const CreateCount&) = delete;
  CreateCount& operator=(const CreateCount&) = delete;

 private:
  WarmPool* pool_;
};

}  // namespace atl::sandbox
