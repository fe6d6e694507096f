// SPDX-License-Identifier: Apache-2.0
// The table of sandboxes: what was intended last for each. Everything here blocks.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "db/database.h"
#include "sandbox/limits.h"
#include "sandbox/state.h"

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
  uint32_t id_base() const { return 0x10000000U + id_index * 65536U; }
};

// The internal ids that a look for leaks has to spare.
struct KnownIids {
  std::set<std::string> live;     // every sandbox
  std::set<std::string> running;  // those that may have a container now
};

class Rows {
 public:
  explicit Rows(db::Database& database) : database_(database) {}

  Result<std::vector<Row>> All() const;
  Result<KnownIids> Known() const;
  // Chooses id_index; kResourceExhausted when all are taken.
  Result<Row> Insert(Row row) const;
  Result<void> SetState(const std::string& iid, State state, const std::string& failure = {}) const;
  Result<void> SetUnsaved(const std::string& iid, bool unsaved) const;
  Result<void> SetRecover(const std::string& iid, bool recover) const;
  // `deleted_id`: a sandbox that its owner deleted, as opposed to one whose making was undone.
  Result<void> Remove(const std::string& iid, const std::string& deleted_id = {}) const;
  // When the last sandbox of that id was deleted; 0: never.
  Result<int64_t> DeletedAt(const std::string& id) const;
  // The ids that were deleted and not made again since.
  Result<std::set<std::string>> DeletedIds() const;

 private:
  db::Database& database_;
};

}  // namespace atl::sandbox
