// SPDX-License-Identifier: Apache-2.0
// What the thread that builds trees waits for: records of the walk and files that were read.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stop_token>
#include <utility>
#include <vector>

#include "snapshot/agent_tree.h"
#include "snapshot/file_worker.h"

namespace atl::snapshot {

class BackupInbox {
 public:
  // From the walk. Blocks while much is waiting: the agent waits with it. False: give up.
  bool PutRecord(protocol::TreeRecord record, const std::stop_token& stop) {
    collected_.push_back(std::move(record));
    return collected_.size() < kRecordsAtOnce || Pass(stop);
  }
  bool EndWalk(const std::stop_token& stop) {
    if (!Pass(stop)) return false;
    std::lock_guard lock(mutex_);
    walk_ended_ = true;
    changed_.notify_all();
    return true;
  }
  void PutAnswer(FileAnswer answer) {
    std::lock_guard lock(mutex_);
    answers_.push_back(std::move(answer));
    // One wake-up per file would cost more than what is done with it.
    if (answers_.size() == wanted_answers_) changed_.notify_all();
  }

  struct Items {
    std::vector<FileAnswer> answers;
    std::vector<protocol::TreeRecord> records;
    bool walk_ended = false;  // and all its records were taken
  };
  // What is there. Waits until `until` for `answers` of them, or for records.
  Items Take(bool want_records, size_t answers, const std::stop_token& stop,
             std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    wanted_answers_ = answers;
    changed_.wait_until(lock, stop, until, [&] {
      return (answers > 0 && answers_.size() >= answers) ||
             (want_records && (!records_.empty() || walk_ended_));
    });
    wanted_answers_ = 0;
    Items items;
    items.answers = std::exchange(answers_, {});
    if (want_records && !records_.empty()) {
      items.records = std::move(records_.front());
      records_.pop_front();
      changed_.notify_all();
    }
    items.walk_ended = walk_ended_ && records_.empty();
    return items;
  }

 private:
  static constexpr size_t kRecordsAtOnce = 256;
  static constexpr size_t kMaxBatches = 128;

  bool Pass(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return records_.size() < kMaxBatches; })) return false;
    if (!collected_.empty()) records_.push_back(std::exchange(collected_, {}));
    collected_.reserve(kRecordsAtOnce);
    changed_.notify_all();
    return true;
  }

  std::vector<protocol::TreeRecord> collected_;  // the walk's alone
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::vector<protocol::TreeRecord>> records_;
  std::vector<FileAnswer> answers_;
  size_t wanted_answers_ = 0;  // how many wake up who waits
  bool walk_ended_ = false;
};

}  // namespace atl::snapshot
