// SPDX-License-Identifier: Apache-2.0
// What becomes of rows when the schema changes, and of a file that is damaged.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "db/database.h"
#include "db/migrations.h"
#include "sys/fd.h"

namespace atl::db {
namespace {

constexpr std::string_view kOldRow =
    "INSERT INTO sandboxes (iid, id, state, image, id_index, memory_bytes, cpus, pids, env, "
    "created_at_ms, failure) VALUES ('00112233aabbccdd', 'old', 'stopped', 'default', 7, 1024, "
    "1.5, 64, '[[\"A\",\"b\"]]', 1700000000000, 'why')";

class DamageTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "atoll-db-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/test.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(dir_)); }

  // A database as the program that knew `count` migrations left it.
  void MakeOld(size_t count, const std::string& rows) {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &raw), SQLITE_OK);
    std::string sql = "PRAGMA journal_mode=WAL;";
    for (size_t i = 0; i < count; ++i) sql += std::string(Migrations()[i].sql) + ";";
    sql += "PRAGMA user_version=" + std::to_string(count) + ";" + rows;
    EXPECT_EQ(sqlite3_exec(raw, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  }

  // The first column of the first row, of a file that nobody else has open.
  static std::string Ask(const std::string& path, const std::string& sql) {
    sqlite3* raw = nullptr;
    std::string said;
    auto first = [](void* out, int, char** values, char**) {
      *static_cast<std::string*>(out) = values[0] != nullptr ? values[0] : "NULL";
      return 0;
    };
    if (sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK ||
        sqlite3_exec(raw, sql.c_str(), first, &said, nullptr) != SQLITE_OK) {
      said = std::string("error: ") + sqlite3_errmsg(raw);
    }
    sqlite3_close(raw);
    return said;
  }

  void FillAndBreak() {
    std::string rows =
        "INSERT INTO deleted_sandboxes WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        "SELECT i + 1 FROM n WHERE i < 5000) SELECT 'sandbox-' || i, i FROM n;";
    MakeOld(Migrations().size(), rows);
    ASSERT_TRUE(Database::Open(path_));
    auto text = sys::ReadFile(path_);
    ASSERT_TRUE(text);
    text->replace(text->size() / 2, 8192, 8192, '\x5a');
    ASSERT_TRUE(sys::WriteFile(path_, *text, 0600));
  }

  std::string dir_;
  std::string path_;
};

TEST_F(DamageTest, RowsOfTheFirstSchemaAreKept) {
  MakeOld(1, std::string(kOldRow));
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_,
                "SELECT iid || id || state || image || id_index || memory_bytes || cpus || "
                "pids || env || created_at_ms || failure FROM sandboxes"),
            "00112233aabbccddoldstoppeddefault710241.564[[\"A\",\"b\"]]1700000000000why");
  EXPECT_EQ(Ask(path_,
                "SELECT snapshot_policy || unsaved || recover || disk_bytes || inodes || "
                "weight || sleep_policy || pool_key FROM sandboxes"),
            "0000100");
  EXPECT_EQ(Ask(path_, "PRAGMA user_version"), std::to_string(Migrations().size()));
}

TEST_F(DamageTest, RowsOfTheSecondSchemaAreKept) {
  MakeOld(2, std::string(kOldRow) +
                 "; UPDATE sandboxes SET snapshot_policy='{\"x\":1}', unsaved=1, recover=1;"
                 "INSERT INTO deleted_sandboxes VALUES ('gone', 5)");
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_,
                "SELECT id || id_index || failure || snapshot_policy || unsaved || recover "
                "FROM sandboxes"),
            "old7why{\"x\":1}11");
  EXPECT_EQ(Ask(path_, "SELECT id || deleted_at_ms FROM deleted_sandboxes"), "gone5");
}

TEST_F(DamageTest, AMigratedDatabaseIsThatOfANewOne) {
  MakeOld(1, "");
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  std::string fresh = dir_ + "/fresh.db";
  {
    ASSERT_TRUE(Database::Open(fresh));
  }
  std::string schema =
      "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
  EXPECT_EQ(Ask(path_, schema), Ask(fresh, schema));
}

TEST_F(DamageTest, WhatWasThereBeforeAMigrationIsKept) {
  MakeOld(1, std::string(kOldRow));
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  std::string backup = path_ + ".backup";
  EXPECT_EQ(Ask(backup, "PRAGMA user_version"), "1");
  EXPECT_EQ(Ask(backup, "SELECT id FROM sandboxes"), "old");
  struct stat st{};
  ASSERT_EQ(::stat(backup.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(backup, "PRAGMA user_version"), std::to_string(Migrations().size()));
  EXPECT_EQ(Ask(backup + ".1", "PRAGMA user_version"), "1");
}

TEST_F(DamageTest, ADamagedFileIsRefusedAndLeftAsItIs) {
  FillAndBreak();
  auto before = sys::ReadFile(path_);
  auto opened = Database::Open(path_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(ReasonOf(opened.error()), "DATABASE_DAMAGED");
  EXPECT_NE(opened.error().message.find(path_ + ".backup"), std::string::npos)
      << opened.error().message;
  EXPECT_EQ(*sys::ReadFile(path_), *before);
}

TEST_F(DamageTest, TheCopyOfADamagedFileWorks) {
  FillAndBreak();
  ASSERT_FALSE(Database::Open(path_));
  for (std::string suffix : {"-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
  std::filesystem::rename(path_ + ".backup", path_);
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_, "SELECT count(*) FROM deleted_sandboxes"), "5000");
}

TEST_F(DamageTest, OpensWithoutRoomForACopy) {
  MakeOld(Migrations().size(), std::string(kOldRow));
  // A directory stands where the copy is written first.
  std::filesystem::create_directories(path_ + ".backup.new/x");
  EXPECT_TRUE(Database::Open(path_));
}

}  // namespace
}  // namespace atl::db
