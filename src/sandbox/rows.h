// SPDX-License-Identifier: Apache-2.0
// The table of sandboxes: what was intended last for each. Everything here blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "db/database.h"
#include "sandbox/event_log.h"
#include "sandbox/limits.h"
#include "sandbox/state.h"
#include "sys/idmap.h"

namespace atl::sandbox {

struct Row {
  std::string id;
  std::string iid;
  State state = State::kCreating;
  std::string image;
  uint32_t id_index = 0;
  Limits limits;
  Environment env;
  int64_t created_at_ms = 0;
  std::string failure;
  int64_t changed_at_ms = 0;    // when its state was last written
  std::string snapshot_policy;  // JSON; empty: what is configured
  std::string sleep_policy;     // the same
  bool unsaved = false;
  bool recover = false;  // its layer waits for what snapshots hold
  std::string pool_key;  // of a member of the warm pool; empty: it is somebody's

  // The first of its 65,536 user and group ids.
  uint32_t id_base() const { return sys::kFirstSandboxId + id_index * sys::kIdsOfSandbox; }
};

// The internal ids, and user ids, that a look for leaks has to spare.
struct KnownIids {
  std::set<std::string> live;     // every sandbox
  std::set<std::string> running;  // those that may have a container now
  std::set<std::string> awake;    // those whose programs are to run
  std::set<uint32_t> ranges;      // the first user ids of every sandbox
};

class Rows {
 public:
  // The first ids of ranges that files still have though no row does: not to be given away.
  using Leftover = std::function<std::set<uint32_t>()>;

  // Every change of a state is an event of `log`, written with it.
  explicit Rows(db::Database& database, EventLog* log = nullptr, Leftover leftover = {})
      : database_(database), log_(log), leftover_(std::move(leftover)) {}

  Result<std::vector<Row>> All() const;
  Result<KnownIids> Known() const;
  // Chooses id_index; kResourceExhausted when all are taken.
  Result<Row> Insert(Row row) const;
  // The member of the pool that has `row.iid` becomes what the rest of `row` says, somebody's.
  Result<void> Claim(const Row& row) const;
  // `why` is for the event; without it that is `failure`.
  Result<void> SetState(const std::string& iid, State state, const std::string& failure = {},
                        const std::string& why = {}) const;
  // From kRunning to kRestoring; CONTAINER_UNAVAILABLE in another state.
  Result<void> BeginRestoring(const std::string& iid) const;
  // From kRestoring to kRunning; nothing happens in another state, or without a row.
  Result<void> EndRestoring(const std::string& iid) const;
  // The state kDeleting of a sandbox that its owner deletes: its id begins empty from now on.
  Result<void> BeginDelete(const std::string& iid, const std::string& id) const;
  Result<void> SetPolicies(const std::string& iid, const std::string& snapshot_policy,
                           const std::string& sleep_policy) const;
  Result<void> SetUnsaved(const std::string& iid, bool unsaved) const;
  Result<void> SetRecover(const std::string& iid, bool recover) const;
  Result<void> Remove(const std::string& iid) const;
  // When the last sandbox of that id was deleted; 0: never.
  Result<int64_t> DeletedAt(const std::string& id) const;
  // The ids that were deleted and not made again since.
  Result<std::set<std::string>> DeletedIds() const;
  // Forgets deletions of ids that are not `needed`: of before `before_ms`, and the oldest of more
  // than `most`. How many were forgotten.
  Result<size_t> ForgetDeleted(const std::set<std::string>& needed, int64_t before_ms,
                               size_t most) const;

 private:
  void Notify() const {
    if (log_ != nullptr) log_->Notify();
  }
  db::Database& database_;
  EventLog* log_;
  Leftover leftover_;
};

}  // namespace atl::sandbox
