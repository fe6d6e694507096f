// SPDX-License-Identifier: Apache-2.0
// The schema: forwards, and back for a program that cannot serve with the new one.
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>

#include "base/log.h"
#include "db/backup.h"
#include "db/database.h"
#include "db/migrations.h"

namespace atl::db {
namespace {

int64_t Known() { return static_cast<int64_t>(Migrations().size()); }

Result<int64_t> VersionOf(Transaction& transaction) {
  ASSIGN(Statement statement, transaction.Prepare("PRAGMA user_version"));
  TRY(statement.Step());
  return statement.Int(0);
}

}  // namespace

std::string Database::FormerPath(int64_t version) const {
  return fmt::format("{}.v{}", path_, version);
}

Result<int64_t> Database::Version() {
  std::lock_guard guard(mutex_);
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(connection_, "PRAGMA user_version", -1, &raw, nullptr) != SQLITE_OK) {
    return Fail(Code::kInternal,
                fmt::format("database: {}: {}", path_, sqlite3_errmsg(connection_)));
  }
  int64_t version = sqlite3_step(raw) == SQLITE_ROW ? sqlite3_column_int64(raw, 0) : -1;
  sqlite3_finalize(raw);
  if (version >= 0) return version;
  return Fail(Code::kInternal, fmt::format("database: {}: {}", path_, sqlite3_errmsg(connection_)));
}

Result<void> Database::CheckVersion(int64_t version) const {
  if (version <= Known()) return {};
  std::string former = FormerPath(Known());
  std::error_code ignored;
  std::string advice;
  if (std::filesystem::exists(former, ignored)) {
    advice = fmt::format(
        ". {} is what it was before: to go back to that, move {} and its -wal and -shm aside and "
        "rename the copy to it; sandboxes made since are then set aside in \"lost\"",
        former, path_);
  }
  return Fail(Code::kFailedPrecondition,
              fmt::format("the database {} has version {}, this program knows {}: a newer version "
                          "has used it{}",
                          path_, version, Known(), advice),
              "DATABASE_TOO_NEW");
}

Result<void> Database::Backup() {
  ASSIGN(int64_t version, Version());
  if (version == 0) return {};
  // Without room for a copy the daemon is of use all the same.
  auto kept = KeepBackup(connection_, path_);
  if (!kept) log::Warning("{}", kept.error().message);
  return {};
}

Result<void> Database::Migrate() {
  ASSIGN(int64_t before, Version());
  TRY(CheckVersion(before));
  // Nothing is written, so that a daemon starts on a disk that is full.
  if (before == Known()) return {};
  if (before > 0) {
    std::lock_guard guard(mutex_);
    auto kept = KeepCopy(connection_, path_, FormerPath(before));
    if (!kept) {
      return Unexpected(std::move(kept).error().Wrap(
          "the database needs another schema, and is not changed without a copy of what it is"));
    }
  }
  ASSIGN(Transaction transaction, Begin());
  ASSIGN(int64_t version, VersionOf(transaction));
  if (version != before) return Fail(Code::kUnavailable, "somebody else migrates the database");
  for (int64_t next = version; next < Known(); ++next) {
    const Migration& migration = Migrations()[static_cast<size_t>(next)];
    std::string sql(migration.sql);
    if (sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      return Fail(Code::kInternal, fmt::format("database: migration {}: {}", migration.name,
                                               sqlite3_errmsg(connection_)));
    }
  }
  TRY(transaction.Execute(fmt::format("PRAGMA user_version={}", Known())));
  TRY(transaction.Commit());
  migrated_from_ = before;
  // Of copies only the newest leads back to a program that ran a moment ago.
  for (int64_t older = 1; older < before; ++older) ::unlink(FormerPath(older).c_str());
  return {};
}

Result<void> Database::UndoMigration() {
  if (migrated_from_ == 0) return {};
  TRY(ReturnTo(migrated_from_));
  migrated_from_ = 0;
  return {};
}

Result<void> Database::UndoNewerMigration() {
  ASSIGN(int64_t version, Version());
  if (version <= Known()) return {};
  return ReturnTo(Known());
}

// Page by page under the write lock, in one transaction: other connections see one or the other,
// and what is killed has changed nothing.
Result<void> Database::ReturnTo(int64_t version) {
  std::lock_guard guard(mutex_);
  std::string former = FormerPath(version);
  sqlite3* source = nullptr;
  int opened =
      sqlite3_open_v2(former.c_str(), &source, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
  std::string why;
  if (opened != SQLITE_OK) {
    why = source != nullptr ? sqlite3_errmsg(source) : "out of memory";
  } else if (sqlite3_backup* copy = sqlite3_backup_init(connection_, "main", source, "main")) {
    int stepped = sqlite3_backup_step(copy, -1);
    int finished = sqlite3_backup_finish(copy);
    if (stepped != SQLITE_DONE || finished != SQLITE_OK) why = sqlite3_errmsg(connection_);
  } else {
    why = sqlite3_errmsg(connection_);
  }
  sqlite3_close_v2(source);
  if (why.empty()) return {};
  return Fail(Code::kInternal, fmt::format("the database {} keeps its new schema: return to {}: {}",
                                           path_, former, why));
}

}  // namespace atl::db
