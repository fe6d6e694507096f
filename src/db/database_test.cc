// SPDX-License-Identifier: Apache-2.0
#include "db/database.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>
#include <vector>

#include "db/migrations.h"
#include "sys/fd.h"

namespace atl::db {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "atoll-db-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/test.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(dir_)); }

  std::unique_ptr<Database> Open(Database::Mode mode = Database::Mode::kReadWrite) {
    auto database = Database::Open(path_, mode);
    EXPECT_TRUE(database) << database.error().message;
    return database ? *std::move(database) : nullptr;
  }

  static Result<void> Insert(Transaction& transaction, const std::string& id, int64_t index) {
    return transaction.Execute(
        "INSERT INTO sandboxes (iid, id, state, image, id_index, memory_bytes, cpus, pids, env, "
        "created_at_ms) VALUES (?1, ?1, 'creating', 'default', ?2, 1, ?3, 16, '[]', 0)",
        id, index, 0.5);
  }
  static int64_t Count(Database& database) {
    auto transaction = database.Begin();
    if (!transaction) return -1;
    auto statement = transaction->Prepare("SELECT count(*) FROM sandboxes");
    if (!statement || !statement->Step()) return -1;
    return statement->Int(0);
  }

  std::string dir_;
  std::string path_;
};

TEST_F(DatabaseTest, WhatIsCommittedIsThereAfterReopening) {
  {
    auto database = Open();
    auto transaction = database->Begin();
    ASSERT_TRUE(transaction);
    ASSERT_TRUE(Insert(*transaction, "a", 0));
    EXPECT_EQ(transaction->changes(), 1);
    ASSERT_TRUE(transaction->Commit());
  }
  auto database = Open();
  auto transaction = database->Begin();
  auto statement = transaction->Prepare("SELECT id, id_index, cpus FROM sandboxes");
  ASSERT_TRUE(statement) << statement.error().message;
  auto row = statement->Step();
  ASSERT_TRUE(row && *row);
  EXPECT_EQ(statement->Text(0), "a");
  EXPECT_EQ(statement->Int(1), 0);
  EXPECT_DOUBLE_EQ(statement->Real(2), 0.5);
  EXPECT_FALSE(*statement->Step());
}

TEST_F(DatabaseTest, WhatIsNotCommittedIsUndone) {
  auto database = Open();
  {
    auto transaction = database->Begin();
    ASSERT_TRUE(Insert(*transaction, "a", 0));
  }
  EXPECT_EQ(Count(*database), 0);
}

TEST_F(DatabaseTest, AViolatedConstraintSaysSo) {
  auto database = Open();
  auto transaction = database->Begin();
  ASSERT_TRUE(Insert(*transaction, "a", 0));
  auto twice = Insert(*transaction, "b", 0);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, Code::kAlreadyExists);
}

TEST_F(DatabaseTest, ThreadsTakeTurns) {
  auto database = Open();
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        auto transaction = database->Begin();
        int64_t index = t * 100 + i;
        if (!transaction || !Insert(*transaction, std::to_string(index), index) ||
            !transaction->Commit()) {
          ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(Count(*database), 40);
}

TEST_F(DatabaseTest, CanBeReadBesideItsWriterAndNotWritten) {
  auto writer = Open();
  {
    auto transaction = writer->Begin();
    ASSERT_TRUE(Insert(*transaction, "a", 0));
    ASSERT_TRUE(transaction->Commit());
  }
  auto reader = Open(Database::Mode::kReadOnly);
  EXPECT_EQ(Count(*reader), 1);
  auto transaction = reader->Begin();
  EXPECT_FALSE(Insert(*transaction, "b", 1));
}

TEST_F(DatabaseTest, ADatabaseOfANewerVersionIsRefused) {
  Open();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &raw), SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version=999", nullptr, nullptr, nullptr);
  sqlite3_close(raw);
  auto database = Database::Open(path_);
  ASSERT_FALSE(database);
  EXPECT_EQ(database.error().code, Code::kFailedPrecondition);
}

TEST_F(DatabaseTest, OnlyItsOwnerMayReadIt) {
  auto database = Open();
  EXPECT_EQ(Count(*database), 0);
  for (std::string suffix : {"", "-wal", "-shm"}) {
    struct stat st{};
    ASSERT_EQ(::stat((path_ + suffix).c_str(), &st), 0) << suffix;
    EXPECT_EQ(st.st_mode & 0777U, 0600U) << suffix;
  }
}

TEST_F(DatabaseTest, AFileThatIsNoDatabaseIsRefused) {
  ASSERT_TRUE(sys::WriteFile(path_, std::string(8192, 'x')));
  auto database = Database::Open(path_);
  ASSERT_FALSE(database);
  EXPECT_NE(database.error().message.find(path_), std::string::npos);
}

}  // namespace
}  // namespace atl::db
