// SPDX-License-Identifier: Apache-2.0
// Whether a database's file is whole, and copies of one that was.
#pragma once

#include <string>

#include "base/result.h"

struct sqlite3;

namespace atl::db {

// kInternal, DATABASE_DAMAGED, when SQLite finds the file damaged. The connection then writes
// nothing into it, not even when it is closed.
Result<void> CheckWhole(sqlite3* connection, const std::string& path);

// Copies the database to <path>.backup; the copy that was there becomes <path>.backup.1. A copy has
// its name when it is whole and on the disk.
Result<void> KeepBackup(sqlite3* connection, const std::string& path);

// The same to `copy`, which is replaced and, when this returns, is on the disk.
Result<void> KeepCopy(sqlite3* connection, const std::string& path, const std::string& copy);

}  // namespace atl::db
