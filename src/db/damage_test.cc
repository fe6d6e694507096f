// SPDX-License-Identifier: Apache-2.0
// What becomes of rows when the schema changes, and of a file that is damaged.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

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

TEST_F(DamageTest, RowsOfTheThirdSchemaAreKept) {
  MakeOld(3,
          std::string(kOldRow) +
              "; UPDATE sandboxes SET state='paused', changed_at_ms=9, disk_bytes=11, inodes=12, "
              "weight=13, sleep_policy='{\"y\":2}', pool_key='key', recover=1;"
              "INSERT INTO events (at_ms, iid, id, kind, state, detail) VALUES "
              "(3, '00112233aabbccdd', 'old', 'state', 'paused', 'nobody')");
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_,
                "SELECT id || id_index || state || changed_at_ms || disk_bytes || inodes || weight "
                "|| sleep_policy || pool_key || recover FROM sandboxes"),
            "old7paused9111213{\"y\":2}key1");
  EXPECT_EQ(Ask(path_, "SELECT seq || at_ms || iid || id || kind || state || detail FROM events"),
            "1300112233aabbccddoldstatepausednobody");
}

TEST_F(DamageTest, RowsOfTheFourthSchemaAreKept) {
  MakeOld(4, std::string(kOldRow) +
                 "; INSERT INTO exposed_ports VALUES ('00112233aabbccdd', 3000, 'old', 'name', "
                 "'token', 'generation', 1, 5, 6)");
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_, "SELECT id || id_index || failure FROM sandboxes"), "old7why");
  EXPECT_EQ(Ask(path_,
                "SELECT iid || port || id || name || token || generation || signed || "
                "created_at_ms || expires_at_ms FROM exposed_ports"),
            "00112233aabbccdd3000oldnametokengeneration156");
}

TEST_F(DamageTest, RowsOfTheFifthSchemaAreKept) {
  MakeOld(5, std::string(kOldRow) +
                 "; INSERT INTO services VALUES ('00112233aabbccdd', 'svc', '{}', 1, 5)");
  {
    ASSERT_TRUE(Database::Open(path_));
  }
  EXPECT_EQ(Ask(path_, "SELECT id || id_index || failure FROM sandboxes"), "old7why");
  EXPECT_EQ(
      Ask(path_, "SELECT iid || process || program || keep_awake || created_at_ms FROM services"),
      "00112233aabbccddsvc{}15");
}

// FNV-1a, of the statements without comments: what they do.
uint64_t HashOf(std::string_view sql) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (size_t at = 0; at < sql.size(); ++at) {
    if (sql.substr(at, 2) == "--") at = std::min(sql.find('\n', at), sql.size());
    if (at < sql.size()) hash = (hash ^ static_cast<unsigned char>(sql[at])) * 0x100000001b3U;
  }
  return hash;
}

TEST_F(DamageTest, AMigrationThatSomebodyHasHadIsNotEdited) {
  const std::pair<std::string_view, uint64_t> had[] = {
      {"0001_sandboxes", 0x9931597189ca3e7eU}, {"0002_snapshots", 0x5c152a3536d63d48U},
      {"0003_lifecycle", 0xd97249578577924bU}, {"0004_ports", 0x036942c179d9da29U},
      {"0005_services", 0xe5105631ced760e3U},
  };
  ASSERT_GE(Migrations().size(), std::size(had));
  for (size_t i = 0; i < std::size(had); ++i) {
    EXPECT_EQ(Migrations()[i].name, had[i].first);
    EXPECT_EQ(HashOf(Migrations()[i].sql), had[i].second)
        << Migrations()[i].name << ": databases that have had it stay as it was; make another one";
  }
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
