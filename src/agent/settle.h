// SPDX-License-Identifier: Apache-2.0
// Finishes or undoes what restores that were killed left in a directory. Whoever looks at a
// directory next does it: a walk, a restore, the agent's start.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace atl::agent {

inline constexpr const char* kRestoreNotes = "/var/lib/atoll-restores";

// Only renames and the like, and nothing while a restore is running.
Result<void> SettleLeftovers(int root);

// Remembers, from before a restore is decided until it is made, which directory it changes: a
// sandbox that is stopped in between finds it at its next start. Only inside a sandbox.
class DecidedRestore {
 public:
  DecidedRestore(const std::string& dir, const std::string& id);
  ~DecidedRestore();
  DecidedRestore(const DecidedRestore&) = delete;
  DecidedRestore& operator=(const DecidedRestore&) = delete;

 private:
  std::string note_;
};

// The directories in which a restore left something: those that were noted, and those that
// automatic snapshots are restored to. Removes the notes of directories in which nothing is left.
std::vector<std::string> DirsToSettle(const std::string& notes_dir = kRestoreNotes);

// `settle DIR...`
int SettleMain(const std::vector<std::string>& dirs);

}  // namespace atl::agent
