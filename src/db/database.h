// SPDX-License-Identifier: Apache-2.0
// SQLite with one connection that callers take turns on. Everything here blocks: call it from the
// blocking pool. A transaction that was committed survives a power cut (synchronous=FULL): state
// changes are few, and each announces something that must be found again.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace atl::db {

class Statement {
 public:
  // Values of the parameters ?1, ?2, ... in order.
  template <class... Args>
  Result<void> Bind(const Args&... args) {
    int index = 0;
    Result<void> result;
    ((result = result ? BindOne(++index, args) : std::move(result)), ...);
    return result;
  }
  // True while there is a row.
  Result<bool> Step();
  // For statements that yield no rows.
  Result<void> Run();

  // Columns of the current row, from 0.
  int64_t Int(int column) const;
  double Real(int column) const;
  std::string Text(int column) const;
  bool IsNull(int column) const;

 private:
  friend class Transaction;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* connection, sqlite3_stmt* statement)
      : connection_(connection), statement_(statement) {}

  Result<void> BindOne(int index, int64_t value);
  Result<void> BindOne(int index, double value);
  Result<void> BindOne(int index, std::string_view value);

  sqlite3* connection_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Owns the connection from Begin to its end; without Commit everything is undone. Its statements
// must be gone before it ends.
class Transaction {
 public:
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  Result<Statement> Prepare(std::string_view sql);
  // Prepare, Bind, Run.
  template <class... Args>
  Result<void> Execute(std::string_view sql, const Args&... args) {
    ASSIGN(Statement statement, Prepare(sql));
    TRY(statement.Bind(args...));
    return statement.Run();
  }
  // How many rows the last Execute changed.
  int64_t changes() const;
  Result<void> Commit();

 private:
  friend class Database;
  Transaction(sqlite3* connection, std::unique_lock<std::mutex> lock)
      : connection_(connection), lock_(std::move(lock)) {}

  sqlite3* connection_;  // null once it has ended
  std::unique_lock<std::mutex> lock_;
};

class Database {
 public:
  enum class Mode {
    kReadWrite,   // makes, checks, copies (backup.h) and migrates it
    kUnmigrated,  // the same, with the schema that it has until Migrate
    kReadOnly,    // beside a running daemon
  };
  static Result<std::unique_ptr<Database>> Open(const std::string& path,
                                                Mode mode = Mode::kReadWrite);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // To the schema of this program. What was there before is kept in <path>.v<its version>: without
  // room for that nothing is changed. A program that knows only the former schema refuses the new
  // one, so a daemon that migrates and then cannot serve must take it back.
  Result<void> Migrate();
  // What Migrate of this object has done, undone with everything that was written since. Nothing
  // happens when it has done nothing.
  Result<void> UndoMigration();
  // The same of what a newer program has done that was to take this one's place.
  Result<void> UndoNewerMigration();

  // Waits for its turn, then BEGIN IMMEDIATE: a transaction that may write never fails half-way
  // because another writer came first.
  Result<Transaction> Begin();

 private:
  Database(sqlite3* connection, std::string path, Mode mode)
      : connection_(connection), path_(std::move(path)), mode_(mode) {}
  // What is there before this program changes it.
  Result<void> Backup();
  Result<int64_t> Version();  // of the schema; 0: it is empty
  Result<void> CheckVersion(int64_t version) const;
  // The file that a migration leaves of the database as it was at `version`.
  std::string FormerPath(int64_t version) const;
  Result<void> ReturnTo(int64_t version);

  sqlite3* connection_;
  std::string path_;
  Mode mode_;
  int64_t migrated_from_ = 0;  // 0: it was not, or it was empty
  std::mutex mutex_;
};

}  // namespace atl::db
