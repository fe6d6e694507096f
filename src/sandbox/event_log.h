// SPDX-License-Identifier: Apache-2.0
// What happened to sandboxes and why: the audit table, and who waits for the next entry.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "async/mutex.h"
#include "base/result.h"
#include "db/database.h"
#include "sandbox/state.h"

namespace atl::sandbox {

struct Event {
  int64_t seq = 0;  // ascending, never used twice
  int64_t at_ms = 0;
  std::string iid;
  std::string id;
  std::string kind;    // "state", "oom", "port", "fork", "save", "memory", "daemon", "opencode"
  std::string state;   // the one it is in afterwards, or "deleted"; empty when that did not change
  std::string detail;  // for people
};

class EventLog {
 public:
  explicit EventLog(db::Database& database) : database_(database) {}

  // Adds to a transaction that changes what the event is about; tell with Notify after its commit.
  static Result<void> Add(db::Transaction& transaction, const std::string& iid,
                          const std::string& id, std::string_view kind, std::string_view state,
                          std::string_view detail);
  // One that changes nothing else. Blocks, and notifies.
  Result<void> Append(const std::string& iid, const std::string& id, std::string_view kind,
                      std::string_view detail);
  // The same of several: of each counts what Append takes.
  Result<void> Append(const std::vector<Event>& events);

  // Those of `id` after `seq`, oldest first. Blocks.
  Result<std::vector<Event>> After(const std::string& id, int64_t seq, size_t limit) const;
  // The last `limit` of `id`, oldest first. Blocks.
  Result<std::vector<Event>> Last(const std::string& id, size_t limit) const;
  // Forgets what is older than that, and all but the newest `keep`. Blocks.
  Result<void> Prune(int64_t before_ms, int64_t keep) const;

  // Set at the next Notify. Take it before looking, so that nothing is missed.
  std::shared_ptr<async::Event> Next();
  void Notify();

 private:
  db::Database& database_;
  std::mutex mutex_;
  std::shared_ptr<async::Event> next_;
};

}  // namespace atl::sandbox
