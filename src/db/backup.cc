// SPDX-License-Identifier: Apache-2.0
#include "db/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "sys/fd.h"

namespace atl::db {
namespace {

// What quick_check says first: "ok", or what is wrong.
int FirstWord(void* out, int columns, char** values, char** /*names*/) {
  auto* said = static_cast<std::string*>(out);
  if (said->empty() && columns > 0 && values[0] != nullptr) *said = values[0];
  return 0;
}

Result<void> Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return {};
  return FailErrno(errno, fmt::format("rename {} to {}", from, to));
}

Result<void> Sync(const std::string& path) {
  ASSIGN(sys::Fd file, sys::Open(path, O_RDONLY));
  if (::fsync(file.get()) == 0) return {};
  return FailErrno(errno, fmt::format("fsync {}", path));
}

}  // namespace

Result<void> CheckWhole(sqlite3* connection, const std::string& path) {
  std::string said;
  int result = sqlite3_exec(connection, "PRAGMA quick_check(1)", FirstWord, &said, nullptr) & 0xff;
  if (result == SQLITE_OK && said == "ok") return {};
  if (result != SQLITE_OK) said = sqlite3_errmsg(connection);
  if (result != SQLITE_OK && result != SQLITE_CORRUPT && result != SQLITE_NOTADB) {
    return Fail(Code::kUnavailable, fmt::format("database: check {}: {}", path, said));
  }
  std::ranges::replace(said, '\n', ' ');
  sqlite3_db_config(connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  std::error_code ignored;
  std::string advice =
      std::filesystem::exists(path + ".backup", ignored)
          ? fmt::format("put {0}.backup, which was whole when a daemon started last, in its place",
                        path)
          : "put a copy of it in its place, if there is one";
  return Fail(Code::kInternal,
              fmt::format("the database {0} is damaged ({1}) and was left as it is: move it and "
                          "{0}-wal and {0}-shm aside, then {2}. Files of sandboxes that it does "
                          "not know are kept in the state directory's \"lost\"",
                          path, said, advice),
              "DATABASE_DAMAGED");
}

namespace {

// A whole copy at <path>.backup.new, on the disk.
Result<std::string> CopyAside(sqlite3* connection, const std::string& path) {
  std::string unfinished = path + ".backup.new";
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("unlink {}", unfinished));
  }
  // Rows may hold what users pass to their sandboxes. SQLite writes into an empty file.
  TRY(sys::Open(unfinished, O_WRONLY | O_CREAT | O_EXCL, 0600));
  char* sql = sqlite3_mprintf("VACUUM INTO %Q", unfinished.c_str());
  int result = sqlite3_exec(connection, sql, nullptr, nullptr, nullptr);
  sqlite3_free(sql);
  if (result != SQLITE_OK) {
    std::string why = sqlite3_errmsg(connection);
    ::unlink(unfinished.c_str());
    return Fail(Code::kUnavailable, fmt::format("copy {} to {}: {}", path, unfinished, why));
  }
  // VACUUM INTO does not do it.
  TRY(Sync(unfinished));
  return unfinished;
}

}  // namespace

Result<void> KeepBackup(sqlite3* connection, const std::string& path) {
  ASSIGN(std::string unfinished, CopyAside(connection, path));
  std::string backup = path + ".backup";
  auto older = Rename(backup, backup + ".1");
  if (!older && older.error().sys_errno != ENOENT) return older;
  return Rename(unfinished, backup);
}

Result<void> KeepCopy(sqlite3* connection, const std::string& path, const std::string& copy) {
  ASSIGN(std::string unfinished, CopyAside(connection, path));
  TRY(Rename(unfinished, copy));
  // Before what it is a copy of changes.
  return Sync(std::filesystem::path(copy).parent_path());
}

}  // namespace atl::db
