// SPDX-License-Identifier: Apache-2.0
// The repository of this daemon: opened when it is first needed, made when there is none, opened
// again later when the store could not be reached. Everything blocks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/result.h"
#include "blob/store.h"
#include "repository/repository.h"

namespace atl::snapshot {

class Vault {
 public:
  using OpenStore = std::function<Result<std::shared_ptr<blob::Store>>()>;
  using Repo = std::shared_ptr<repository::Repository>;

  // `password` is asked for when the repository is opened. `known_file` (empty: none) remembers in
  // which stores there has been one: there no other is made when it is gone, for it may come back.
  Vault(OpenStore open_store, std::function<Result<std::string>()> password,
        repository::Options options, std::string known_file = {})
      : open_store_(std::move(open_store)),
        password_(std::move(password)),
        options_(std::move(options)),
        known_file_(std::move(known_file)) {}
  // Waits for an opening that is under way.
  ~Vault();
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;

  // It is opened once for everybody who waits for it. After a failure the same error is given for a
  // second before the store is asked again. Who gives up (kCancelled) waits no longer than it takes
  // a store that answers; the opening goes on for those who come later.
  Result<Repo> Get(std::stop_token given_up = {});
  // What is open; null when nothing is.
  Repo Opened() const;
  // Snapshots in memory no older than `age`: refreshed otherwise.
  Result<Repo> GetFresh(std::chrono::milliseconds age);

 private:
  Result<Repo> Open();
  void OpenForAll();
  Result<void> BeginOpening();  // with the mutex held
  Result<void> Make(blob::Store& store, const repository::Options& options);
  void NoteKnown(const std::string& store) const;

  OpenStore open_store_;
  std::function<Result<std::string>()> password_;
  repository::Options options_;
  std::string known_file_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any opened_;
  std::thread opener_;
  bool opening_ = false;
  std::chrono::steady_clock::time_point opening_since_;
  uint64_t openings_ = 0;  // that have ended
  Repo repository_;
  Error failure_;
  std::chrono::steady_clock::time_point failed_at_;
  bool failed_ = false;
  std::chrono::steady_clock::time_point refreshed_at_;
};

}  // namespace atl::snapshot
