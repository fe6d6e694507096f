// SPDX-License-Identifier: Apache-2.0
// Migrations from every schema there has been, taken back.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "db/database.h"
#include "db/migrations.h"
#include "sys/fd.h"

namespace atl::db {
namespace {

constexpr std::string_view kRow =
    "INSERT INTO sandboxes (iid, id, state, image, id_index, memory_bytes, cpus, pids, env, "
    "created_at_ms, failure) VALUES ('00112233aabbccdd', 'old', 'stopped', 'default', 7, 1024, "
    "1.5, 64, '[]', 1700000000000, 'why')";
constexpr const char* kSchema =
    "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";

class MigrateTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "atoll-migrate-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/test.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(dir_)); }

  // The first column of the first row.
  static std::string Ask(const std::string& path, const std::string& sql) {
    sqlite3* raw = nullptr;
    std::string said;
    auto first = [](void* out, int, char** values, char**) {
      *static_cast<std::string*>(out) = values[0] != nullptr ? values[0] : "NULL";
      return 0;
    };
    if (sqlite3_open(path.c_str(), &raw) != SQLITE_OK ||
        sqlite3_exec(raw, sql.c_str(), first, &said, nullptr) != SQLITE_OK) {
      said = std::string("error: ") + sqlite3_errmsg(raw);
    }
    sqlite3_close(raw);
    return said;
  }

  // As the program that knew `count` migrations left it, with a row.
  void MakeOld(size_t count) {
    std::string sql = "PRAGMA journal_mode=WAL;";
    for (size_t i = 0; i < count; ++i) sql += std::string(Migrations()[i].sql) + ";";
    sql += "PRAGMA user_version=" + std::to_string(count) + ";" + std::string(kRow);
    ASSERT_EQ(Ask(path_, sql), "wal");
  }

  std::unique_ptr<Database> Open(Database::Mode mode) {
    auto database = Database::Open(path_, mode);
    EXPECT_TRUE(database) << database.error().message;
    return database ? *std::move(database) : nullptr;
  }

  std::string dir_;
  std::string path_;
};

TEST_F(MigrateTest, OpeningAloneChangesNothing) {
  MakeOld(1);
  std::string schema = Ask(path_, kSchema);
  Open(Database::Mode::kUnmigrated);
  EXPECT_EQ(Ask(path_, "PRAGMA user_version"), "1");
  EXPECT_EQ(Ask(path_, kSchema), schema);
}

TEST_F(MigrateTest, IsTakenBackToEverySchema) {
  for (size_t count = 1; count < Migrations().size(); ++count) {
    SCOPED_TRACE(count);
    for (std::string suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
    MakeOld(count);
    std::string schema = Ask(path_, kSchema);
    {
      auto database = Open(Database::Mode::kUnmigrated);
      ASSERT_TRUE(database->Migrate());
      {
        auto transaction = database->Begin();
        ASSERT_TRUE(transaction->Execute("UPDATE sandboxes SET id='changed'"));
        ASSERT_TRUE(transaction->Commit());
      }
      auto undone = database->UndoMigration();
      ASSERT_TRUE(undone) << undone.error().message;
    }
    EXPECT_EQ(Ask(path_, "PRAGMA user_version"), std::to_string(count));
    EXPECT_EQ(Ask(path_, kSchema), schema);
    EXPECT_EQ(Ask(path_, "SELECT id || state || failure FROM sandboxes"), "oldstoppedwhy");
    EXPECT_EQ(Ask(path_, "PRAGMA integrity_check"), "ok");
    // And forwards again.
    Open(Database::Mode::kReadWrite);
    EXPECT_EQ(Ask(path_, "SELECT id FROM sandboxes"), "old");
  }
}

TEST_F(MigrateTest, NothingIsUndoneWhereNothingWasMigrated) {
  MakeOld(Migrations().size());
  auto database = Open(Database::Mode::kReadWrite);
  {
    auto transaction = database->Begin();
    ASSERT_TRUE(transaction->Execute("UPDATE sandboxes SET id='changed'"));
    ASSERT_TRUE(transaction->Commit());
  }
  EXPECT_TRUE(database->UndoMigration());
  EXPECT_TRUE(database->UndoNewerMigration());
  database.reset();
  EXPECT_EQ(Ask(path_, "SELECT id FROM sandboxes"), "changed");
}

// The newer program was killed between its migration and its service.
TEST_F(MigrateTest, WhatANewerProgramMadeOfItIsTakenBackByTheOneThatIsStillThere) {
  MakeOld(Migrations().size());
  auto running = Open(Database::Mode::kReadWrite);
  std::string version = std::to_string(Migrations().size());
  std::string schema = Ask(path_, kSchema);
  EXPECT_EQ(Ask(path_, "VACUUM INTO '" + path_ + ".v" + version + "'"), "");
  EXPECT_EQ(Ask(path_,
                "ALTER TABLE sandboxes RENAME COLUMN image TO picture; DROP TABLE events;"
                "PRAGMA user_version=999"),
            "");
  auto refused = Database::Open(path_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(ReasonOf(refused.error()), "DATABASE_TOO_NEW");
  EXPECT_NE(refused.error().message.find(path_ + ".v" + version), std::string::npos);
  auto undone = running->UndoNewerMigration();
  ASSERT_TRUE(undone) << undone.error().message;
  {
    auto transaction = running->Begin();
    ASSERT_TRUE(transaction->Execute("UPDATE sandboxes SET image='written'"));
    ASSERT_TRUE(transaction->Commit());
  }
  running.reset();
  EXPECT_EQ(Ask(path_, kSchema), schema);
  Open(Database::Mode::kReadWrite);
  EXPECT_EQ(Ask(path_, "SELECT image FROM sandboxes"), "written");
}

TEST_F(MigrateTest, WithoutRoomForACopyNothingIsMigrated) {
  MakeOld(1);
  // A directory stands where the copy is written first.
  std::filesystem::create_directories(path_ + ".backup.new/x");
  auto database = Open(Database::Mode::kUnmigrated);
  auto migrated = database->Migrate();
  ASSERT_FALSE(migrated);
  EXPECT_NE(migrated.error().message.find("copy"), std::string::npos) << migrated.error().message;
  database.reset();
  EXPECT_EQ(Ask(path_, "PRAGMA user_version"), "1");
}

}  // namespace
}  // namespace atl::db
