// SPDX-License-Identifier: Apache-2.0
// Where directories go whose removal nobody waits for. A thread of its own empties it, at low
// cost to whoever deletes: a rename. What a daemon leaves in it the next one removes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace atl::oci {

class Trash {
 public:
  // `dir` is made, and what is in it is removed from now on.
  static Result<std::unique_ptr<Trash>> Open(std::string dir);
  // Waits for the removal that is under way; the rest stays for the next one.
  ~Trash();
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // Moves `path`, which is on the same file system, out of the way as `name`; a missing one is
  // success. Nothing may be mounted below it.
  Result<void> Put(const std::string& path, const std::string& name);
  // Whose layers are still in it: the first id of each range, which is the project's number too.
  std::set<uint32_t> Owners() const;
  // False when there is something left after `limit`.
  bool AwaitEmpty(std::chrono::milliseconds limit);

 private:
  explicit Trash(std::string dir);
  void Work(const std::stop_token& stop);

  std::string dir_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool filled_ = true;  // since it was last looked through
  bool empty_ = false;
  std::jthread worker_;
};

// Moves the directory `path` into `dir` under `name`, or `name` and a number when that is taken.
// The new path; empty when there is nothing at `path`.
Result<std::string> MoveInto(const std::string& path, const std::string& dir,
                             const std::string& name);

// What is in the directory at `path`, sorted; hidden names too.
std::vector<std::string> NamesIn(const std::string& path);

}  // namespace atl::oci
