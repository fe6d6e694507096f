// SPDX-License-Identifier: Apache-2.0
#include "db/database.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>

#include "db/backup.h"
#include "sys/fd.h"

namespace atl::db {
namespace {

Code CodeOf(int extended) {
  switch (extended & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kUnavailable;
    case SQLITE_FULL:
      return Code::kResourceExhausted;
    case SQLITE_CONSTRAINT:
      return Code::kAlreadyExists;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Code::kPermissionDenied;
    default:
      return Code::kInternal;
  }
}

Unexpected FailSqlite(sqlite3* connection, std::string_view what) {
  int extended = sqlite3_extended_errcode(connection);
  Code code = CodeOf(extended);
  std::string reason = code == Code::kResourceExhausted ? "NO_SPACE" : "";
  return Fail(code, fmt::format("database: {}: {}", what, sqlite3_errmsg(connection)),
              std::move(reason));
}

Result<void> ExecuteScript(sqlite3* connection, const std::string& sql) {
  if (sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return FailSqlite(connection, sql.substr(0, 80));
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Result<void> Statement::BindOne(int index, int64_t value) {
  if (sqlite3_bind_int64(statement_.get(), index, value) == SQLITE_OK) return {};
  return FailSqlite(connection_, "bind a number");
}

Result<void> Statement::BindOne(int index, double value) {
  if (sqlite3_bind_double(statement_.get(), index, value) == SQLITE_OK) return {};
  return FailSqlite(connection_, "bind a number");
}

Result<void> Statement::BindOne(int index, std::string_view value) {
  if (sqlite3_bind_text64(statement_.get(), index, value.data(), value.size(), SQLITE_TRANSIENT,
                          SQLITE_UTF8) == SQLITE_OK) {
    return {};
  }
  return FailSqlite(connection_, "bind a text");
}

Result<bool> Statement::Step() {
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return FailSqlite(connection_, sqlite3_sql(statement_.get()));
  }
}

Result<void> Statement::Run() {
  while (true) {
    ASSIGN(bool more, Step());
    if (!more) return {};
  }
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

double Statement::Real(int column) const { return sqlite3_column_double(statement_.get(), column); }

std::string Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  if (text == nullptr) return {};
  auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return {reinterpret_cast<const char*>(text), size};
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

Transaction::Transaction(Transaction&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)), lock_(std::move(other.lock_)) {}

Transaction::~Transaction() {
  if (connection_ != nullptr) sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Result<Statement> Transaction::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(connection_, sql.data(), static_cast<int>(sql.size()), &statement,
                         nullptr) != SQLITE_OK) {
    return FailSqlite(connection_, sql);
  }
  return Statement(connection_, statement);
}

int64_t Transaction::changes() const { return sqlite3_changes64(connection_); }

Result<void> Transaction::Commit() {
  // A commit that fails leaves the transaction open: the destructor rolls it back.
  TRY(ExecuteScript(connection_, "COMMIT"));
  connection_ = nullptr;
  lock_.unlock();
  return {};
}

Database::~Database() { sqlite3_close_v2(connection_); }

Result<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  if (mode != Mode::kReadOnly) {
    // Rows may hold what users pass to their sandboxes. The files beside it get the same mode when
    // they are made.
    ASSIGN(sys::Fd file, sys::Open(path, O_RDWR | O_CREAT, 0600));
    if (::fchmod(file.get(), 0600) != 0) return FailErrno(errno, fmt::format("chmod {}", path));
    for (const char* beside : {"-wal", "-shm"}) {
      if (::chmod((path + beside).c_str(), 0600) != 0 && errno != ENOENT) {
        return FailErrno(errno, fmt::format("chmod {}{}", path, beside));
      }
    }
  }
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |=
      mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* connection = nullptr;
  int opened = sqlite3_open_v2(path.c_str(), &connection, flags, nullptr);
  std::unique_ptr<Database> database(new Database(connection, path, mode));
  auto wrap = [&](Result<void> result) -> Result<void> {
    if (!result) return Unexpected(std::move(result).error().Wrap(path));
    return {};
  };
  if (opened != SQLITE_OK) TRY(wrap(FailSqlite(connection, "open")));
  sqlite3_busy_timeout(connection, 10'000);
  TRY(wrap(ExecuteScript(connection, "PRAGMA foreign_keys=ON")));
  if (mode == Mode::kReadOnly) return database;
  TRY(CheckWhole(connection, path));
  // One of a newer program is refused before anything of it is touched.
  ASSIGN(int64_t version, database->Version());
  TRY(database->CheckVersion(version));
  TRY(wrap(database->Backup()));
  TRY(wrap(ExecuteScript(connection, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")));
  if (mode != Mode::kUnmigrated) TRY(wrap(database->Migrate()));
  return database;
}

Result<Transaction> Database::Begin() {
  std::unique_lock lock(mutex_);
  TRY(ExecuteScript(connection_, mode_ == Mode::kReadOnly ? "BEGIN" : "BEGIN IMMEDIATE"));
  return Transaction(connection_, std::move(lock));
}

}  // namespace atl::db
