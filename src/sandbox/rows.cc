// SPDX-License-Identifier: Apache-2.0
#include "sandbox/rows.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/clock.h"
#include "sandbox/pool.h"

namespace atl::sandbox {
namespace bj = boost::json;

namespace {

// The last id of all must stay below 2^32 - 1, which is none.
constexpr int64_t kMaxIndex = (0xFFFFFFFFLL - sys::kFirstSandboxId) / sys::kIdsOfSandbox - 1;

std::string EncodeEnv(const Environment& env) {
  bj::array list;
  for (const auto& [name, value] : env) list.push_back(bj::array{name, value});
  return bj::serialize(list);
}

Result<Environment> DecodeEnv(std::string_view text) {
  boost::system::error_code error;
  bj::value value = bj::parse(bj::string_view(text.data(), text.size()), error);
  Environment env;
  if (error || !value.is_array()) return Fail(Code::kInternal, "the environment is not a list");
  for (const bj::value& item : value.get_array()) {
    const bj::array* pair = item.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
        !(*pair)[1].is_string()) {
      return Fail(Code::kInternal, "the environment holds something else than pairs");
    }
    env.emplace_back((*pair)[0].get_string(), (*pair)[1].get_string());
  }
  return env;
}

// The smallest index that no row has.
constexpr std::string_view kFreeIndex =
    "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM sandboxes WHERE id_index = 0) THEN 0 ELSE "
    "(SELECT min(id_index) + 1 FROM sandboxes AS a WHERE NOT EXISTS "
    "(SELECT 1 FROM sandboxes AS b WHERE b.id_index = a.id_index + 1)) END";

// The same when no file may have the ids of `leftover`, either.
Result<int64_t> FreeIndexBeside(db::Transaction& transaction, const std::set<uint32_t>& leftover) {
  ASSIGN(db::Statement statement,
         transaction.Prepare("SELECT id_index FROM sandboxes ORDER BY id_index"));
  ASSIGN(bool more, statement.Step());
  for (int64_t index = 0;; ++index) {
    while (more && statement.Int(0) < index) {
      ASSIGN(more, statement.Step());
    }
    bool taken = more && statement.Int(0) == index;
    if (!taken && !leftover.contains(Row{.id_index = static_cast<uint32_t>(index)}.id_base())) {
      return index;
    }
  }
}

Result<int64_t> FirstFreeIndex(db::Transaction& transaction) {
  ASSIGN(db::Statement statement, transaction.Prepare(kFreeIndex));
  TRY(statement.Step());
  return statement.Int(0);
}

Result<int64_t> FreeIndex(db::Transaction& transaction, const std::set<uint32_t>& leftover) {
  ASSIGN(int64_t index,
         leftover.empty() ? FirstFreeIndex(transaction) : FreeIndexBeside(transaction, leftover));
  if (index <= kMaxIndex) return index;
  return Fail(Code::kResourceExhausted,
              "there is no room for one sandbox more: every range of user ids is taken",
              "CAPACITY_EXCEEDED");
}

Result<Row> ReadRow(const db::Statement& statement) {
  Row row{.id = statement.Text(0), .iid = statement.Text(1)};
  auto state = ParseState(statement.Text(2));
  if (!state) return Fail(Code::kInternal, fmt::format("sandbox {}: unknown state", row.id));
  row.state = *state;
  row.image = statement.Text(3);
  row.id_index = static_cast<uint32_t>(statement.Int(4));
  row.limits = {.memory_bytes = static_cast<uint64_t>(statement.Int(5)),
                .cpus = statement.Real(6),
                .pids = static_cast<uint64_t>(statement.Int(7))};
  ASSIGN(row.env, DecodeEnv(statement.Text(8)));
  row.created_at_ms = statement.Int(9);
  row.failure = statement.Text(10);
  row.snapshot_policy = statement.Text(11);
  row.unsaved = statement.Int(12) != 0;
  row.recover = statement.Int(13) != 0;
  row.limits.disk_bytes = static_cast<uint64_t>(statement.Int(14));
  row.limits.inodes = static_cast<uint64_t>(statement.Int(15));
  row.changed_at_ms = statement.Int(16);
  row.sleep_policy = statement.Text(17);
  row.pool_key = statement.Text(18);
  row.limits.weight = static_cast<uint64_t>(statement.Int(19));
  return row;
}

}  // namespace

Result<std::vector<Row>> Rows::All() const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(db::Statement statement,
         transaction.Prepare(
             "SELECT id, iid, state, image, id_index, memory_bytes, cpus, pids, "
             "env, created_at_ms, failure, snapshot_policy, unsaved, recover, disk_bytes, inodes, "
             "changed_at_ms, sleep_policy, pool_key, weight FROM sandboxes "
             "ORDER BY created_at_ms"));
  std::vector<Row> rows;
  while (true) {
    ASSIGN(bool more, statement.Step());
    if (!more) return rows;
    ASSIGN(Row row, ReadRow(statement));
    rows.push_back(std::move(row));
  }
}

Result<Row> Rows::Insert(Row row) const {
  std::string env = EncodeEnv(row.env);
  // A row that could not be read again would keep the next daemon from starting.
  if (!DecodeEnv(env)) {
    return Fail(Code::kInvalidArgument, "\"env\" is not UTF-8", "VALIDATION_FAILED");
  }
  std::set<uint32_t> leftover;
  if (leftover_) leftover = leftover_();
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(int64_t index, FreeIndex(transaction, leftover));
  TRY(transaction.Execute(
      "INSERT INTO sandboxes (id, iid, state, image, id_index, memory_bytes, cpus, pids, env, "
      "created_at_ms, snapshot_policy, recover, disk_bytes, inodes, changed_at_ms, sleep_policy, "
      "pool_key, weight) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
      row.id, row.iid, StateName(row.state), row.image, index,
      static_cast<int64_t>(row.limits.memory_bytes), row.limits.cpus,
      static_cast<int64_t>(row.limits.pids), env, row.created_at_ms, row.snapshot_policy,
      static_cast<int64_t>(row.recover), static_cast<int64_t>(row.limits.disk_bytes),
      static_cast<int64_t>(row.limits.inodes), row.created_at_ms, row.sleep_policy, row.pool_key,
      static_cast<int64_t>(row.limits.weight)));
  TRY(EventLog::Add(transaction, row.iid, row.id, "state", StateName(row.state), ""));
  TRY(transaction.Commit());
  Notify();
  row.id_index = static_cast<uint32_t>(index);
  return row;
}

Result<void> Rows::Claim(const Row& row) const {
  std::string env = EncodeEnv(row.env);
  if (!DecodeEnv(env)) {
    return Fail(Code::kInvalidArgument, "\"env\" is not UTF-8", "VALIDATION_FAILED");
  }
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute(
        "UPDATE sandboxes SET id = ?2, memory_bytes = ?3, cpus = ?4, pids = ?5, env = ?6, "
        "created_at_ms = ?7, snapshot_policy = ?8, sleep_policy = ?9, recover = ?10, "
        "weight = ?11, changed_at_ms = ?7, pool_key = '' "
        "WHERE iid = ?1 AND pool_key <> '' AND state = 'running'",
        row.iid, row.id, static_cast<int64_t>(row.limits.memory_bytes), row.limits.cpus,
        static_cast<int64_t>(row.limits.pids), env, row.created_at_ms, row.snapshot_policy,
        row.sleep_policy, static_cast<int64_t>(row.recover),
        static_cast<int64_t>(row.limits.weight)));
    if (transaction.changes() != 1) {
      return Fail(Code::kInternal, fmt::format("the pool has no member {}", row.iid));
    }
    // What has happened to the member has happened to the sandbox that it becomes.
    TRY(transaction.Execute("UPDATE events SET id = ?2 WHERE id = ?1", MemberId(row.iid), row.id));
    TRY(EventLog::Add(transaction, row.iid, row.id, "state", StateName(State::kRunning),
                      "it was waiting in the pool"));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

namespace {

// The state of a row, and the event that tells of it.
Result<void> WriteState(db::Transaction& transaction, const std::string& iid, State state,
                        std::string_view failure, std::string_view why) {
  TRY(transaction.Execute(
      "UPDATE sandboxes SET state = ?2, failure = ?3, changed_at_ms = ?4 WHERE iid = ?1", iid,
      StateName(state), failure, NowMs()));
  if (transaction.changes() != 1) {
    return Fail(Code::kInternal, fmt::format("the database has no sandbox {}", iid));
  }
  return transaction.Execute(
      "INSERT INTO events (at_ms, iid, id, kind, state, detail) "
      "SELECT ?2, iid, id, 'state', ?3, ?4 FROM sandboxes WHERE iid = ?1",
      iid, NowMs(), StateName(state), why.empty() ? failure : why);
}

}  // namespace

Result<void> Rows::SetState(const std::string& iid, State state, const std::string& failure,
                            const std::string& why) const {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(WriteState(transaction, iid, state, failure, why));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<void> Rows::EndRestoring(const std::string& iid) const {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    {
      ASSIGN(db::Statement statement,
             transaction.Prepare("SELECT 1 FROM sandboxes WHERE iid = ?1 AND state = 'restoring'"));
      TRY(statement.Bind(iid));
      ASSIGN(bool restoring, statement.Step());
      if (!restoring) return {};
    }
    TRY(WriteState(transaction, iid, State::kRunning, "", "the restore has ended"));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<void> Rows::BeginRestoring(const std::string& iid) const {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    {
      ASSIGN(db::Statement statement,
             transaction.Prepare("SELECT 1 FROM sandboxes WHERE iid = ?1 AND state = 'running'"));
      TRY(statement.Bind(iid));
      ASSIGN(bool running, statement.Step());
      if (!running) {
        return Fail(Code::kUnavailable, "the sandbox does not run any more",
                    "CONTAINER_UNAVAILABLE");
      }
    }
    TRY(WriteState(transaction, iid, State::kRestoring, "", "a snapshot is restored"));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<void> Rows::BeginDelete(const std::string& iid, const std::string& id) const {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(WriteState(transaction, iid, State::kDeleting, "", "its owner deletes it"));
    TRY(transaction.Execute("INSERT OR REPLACE INTO deleted_sandboxes VALUES (?1, ?2)", id,
                            NowMs()));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<void> Rows::SetPolicies(const std::string& iid, const std::string& snapshot_policy,
                               const std::string& sleep_policy) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  TRY(transaction.Execute(
      "UPDATE sandboxes SET snapshot_policy = ?2, sleep_policy = ?3 WHERE iid = ?1", iid,
      snapshot_policy, sleep_policy));
  return transaction.Commit();
}

namespace {

Result<void> SetFlag(db::Database& database, std::string_view sql, const std::string& iid,
                     bool value) {
  ASSIGN(db::Transaction transaction, database.Begin());
  TRY(transaction.Execute(sql, iid, static_cast<int64_t>(value)));
  return transaction.Commit();
}

}  // namespace

Result<void> Rows::SetUnsaved(const std::string& iid, bool unsaved) const {
  return SetFlag(database_, "UPDATE sandboxes SET unsaved = ?2 WHERE iid = ?1", iid, unsaved);
}

Result<void> Rows::SetRecover(const std::string& iid, bool recover) const {
  return SetFlag(database_, "UPDATE sandboxes SET recover = ?2 WHERE iid = ?1", iid, recover);
}

Result<void> Rows::Remove(const std::string& iid) const {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute(
        "INSERT INTO events (at_ms, iid, id, kind, state, detail) "
        "SELECT ?2, iid, id, 'state', 'deleted', '' FROM sandboxes WHERE iid = ?1",
        iid, NowMs()));
    // Nobody asks for those of a member that was never anybody's.
    TRY(transaction.Execute("DELETE FROM events WHERE id = ?1", MemberId(iid)));
    TRY(transaction.Execute("DELETE FROM services WHERE iid = ?1", iid));
    TRY(transaction.Execute("DELETE FROM sandboxes WHERE iid = ?1", iid));
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<int64_t> Rows::DeletedAt(const std::string& id) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(db::Statement statement,
         transaction.Prepare("SELECT deleted_at_ms FROM deleted_sandboxes WHERE id = ?1"));
  TRY(statement.Bind(id));
  ASSIGN(bool found, statement.Step());
  return found ? statement.Int(0) : 0;
}

Result<std::set<std::string>> Rows::DeletedIds() const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(db::Statement statement,
         transaction.Prepare("SELECT id FROM deleted_sandboxes WHERE id NOT IN "
                             "(SELECT id FROM sandboxes)"));
  std::set<std::string> ids;
  while (true) {
    ASSIGN(bool more, statement.Step());
    if (!more) return ids;
    ids.insert(statement.Text(0));
  }
}

Result<size_t> Rows::ForgetDeleted(const std::set<std::string>& needed, int64_t before_ms,
                                   size_t most) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  std::vector<std::string> forgotten;
  {
    ASSIGN(db::Statement statement,
           transaction.Prepare("SELECT id, deleted_at_ms FROM deleted_sandboxes "
                               "ORDER BY deleted_at_ms DESC"));
    size_t kept = 0;
    while (true) {
      ASSIGN(bool more, statement.Step());
      if (!more) break;
      std::string id = statement.Text(0);
      bool stays = needed.contains(id) || (statement.Int(1) >= before_ms && kept < most);
      if (stays) ++kept;
      if (!stays) forgotten.push_back(std::move(id));
    }
  }
  if (forgotten.empty()) return size_t{0};
  for (const std::string& id : forgotten) {
    TRY(transaction.Execute("DELETE FROM deleted_sandboxes WHERE id = ?1", id));
  }
  TRY(transaction.Commit());
  return forgotten.size();
}

Result<KnownIids> Rows::Known() const {
  ASSIGN(std::vector<Row> rows, All());
  KnownIids known;
  for (const Row& row : rows) {
    known.live.insert(row.iid);
    known.ranges.insert(row.id_base());
    if (row.state != State::kStopped) known.running.insert(row.iid);
    bool runs = row.state == State::kRunning || row.state == State::kRestoring;
    if (runs && row.pool_key.empty()) known.awake.insert(row.iid);
  }
  return known;
}

}  // namespace atl::sandbox
