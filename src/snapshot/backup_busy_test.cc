// SPDX-License-Identifier: Apache-2.0
// Snapshots of directories that others change meanwhile, frozen or not, and stores that fail.
#include <fcntl.h>
#include <sys/wait.h>

#include <atomic>
#include <mutex>

#include "snapshot/backup_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Le;

// A thread that does something over and over until it is destroyed.
class Busy {
 public:
  explicit Busy(std::function<void(unsigned round)> work)
      : thread_([work = std::move(work)](const std::stop_token& stop) {
          for (unsigned round = 0; !stop.stop_requested(); ++round) work(round);
        }) {}

 private:
  std::jthread thread_;
};

TEST_F(BackupTest, FilesThatVanishShrinkAndGrow) {
  for (int i = 0; i < 200; ++i) Write(work_ / ("steady" + std::to_string(i)), Noise(5000, i));
  Write(work_ / "large", Noise(30 << 20, 1));
  {
    Busy vanishing([&](unsigned round) {
      fs::path path = work_ / ("volatile" + std::to_string(round % 50));
      Write(path, Noise(3000, round));
      fs::remove(work_ / ("volatile" + std::to_string((round + 25) % 50)));
    });
    Busy resizing([&](unsigned round) {
      EXPECT_EQ(truncate((work_ / "large").c_str(), round % 2 == 0 ? 1 << 20 : 30 << 20), 0);
      std::ofstream(work_ / "log", std::ios::app) << Noise(2000, round);
    });
    for (int i = 0; i < 5; ++i) {
      auto result = Try(Options());
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_THAT(result->changed_while_read, Le(4U));
    }
  }
  // At rest again nothing is missing.
  BackupResult result = Take();
  EXPECT_EQ(result.changed_while_read, 0U);
  EXPECT_EQ(result.skipped, 0U);
  if (!HasRestic()) return;
  CheckWithRestic();
  EXPECT_EQ(Manifest(RestoreWithRestic()), Manifest(work_));
}

TEST_F(BackupTest, ABusyDatabaseIsWhole) {
  if (!HasRestic() || std::system("sqlite3 -version >/dev/null 2>&1") != 0) GTEST_SKIP();
  std::string database = work_ / "app.db";
  auto sql = [](const std::string& file, const std::string& statements) {
    return std::system(("sqlite3 '" + file + "' \"" + statements + "\" >/dev/null 2>&1").c_str());
  };
  ASSERT_EQ(sql(database, "pragma journal_mode=wal; create table t(a, b); create index i on t(b)"),
            0);
  pid_t writer = fork();
  if (writer == 0) {
    // One connection that commits often, and empties the log into the database now and then.
    std::string script =
        "python3 -c \"import sqlite3, os, time\n"
        "c = sqlite3.connect('" +
        database +
        "', isolation_level=None)\n"
        "c.execute('pragma wal_autocheckpoint=20')\n"
        "while True:\n"
        "  c.execute('insert into t values(?, ?)', (os.urandom(500), os.urandom(10)))\n"
        "  time.sleep(0.003)\"";
    execl("/bin/sh", "sh", "-c", ("exec " + script).c_str(), nullptr);
    _exit(127);
  }
  auto says = [](const fs::path& file, const std::string& query, const std::string& answer) {
    std::string command =
        "test \"$(sqlite3 '" + file.string() + "' '" + query + "')\" = '" + answer + "'";
    return std::system(command.c_str()) == 0;
  };
  EXPECT_TRUE(agent::Eventually([&] { return says(database, "select count(*) > 9 from t", "1"); }));
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    BackupResult result = Take();
    EXPECT_EQ(result.changed_while_read, 0U);
    fs::path copy = RestoreWithRestic() / "app.db";
    EXPECT_TRUE(says(copy, "pragma integrity_check", "ok")) << i;
    EXPECT_TRUE(says(copy, "select count(*) > 9 from t", "1")) << i;
  }
  kill(writer, SIGKILL);
  waitpid(writer, nullptr, 0);
}

TEST_F(BackupTest, ADatabaseIsReadWithItsLog) {
  for (const char* name : {"x", "x+", "x-journal", "x-wal", "y", "y-shm", "z", "z-walnut"}) {
    Write(work_ / name, name);
  }
  Take();
  Write(work_ / "x-wal", "changed");
  EXPECT_EQ(Take().files_changed, 3U);
  Write(work_ / "z-walnut", "changed");
  EXPECT_EQ(Take().files_changed, 1U);
  Write(work_ / "y", "changed");
  EXPECT_EQ(Take().files_changed, 2U);
  if (HasRestic()) EXPECT_EQ(Manifest(RestoreWithRestic()), Manifest(work_));
}

TEST_F(BackupTest, FrozenFromTheWalkToTheLastRead) {
  for (int i = 0; i < 100; ++i) Write(work_ / std::to_string(i), Noise(9000, i));
  std::mutex mutex;
  std::vector<std::string> events;
  auto note = [&](std::string event) {
    std::lock_guard lock(mutex);
    if (events.empty() || events.back() != event) events.push_back(std::move(event));
  };
  BackupOptions options = Options();
  options.freeze = [&](bool frozen) -> Result<void> {
    note(frozen ? "freeze" : "thaw");
    return {};
  };
  options.on_progress = [&](const Progress& progress) {
    if (progress.phase == "lock" || progress.phase == "store") note(std::string(progress.phase));
  };
  BackupResult result = Take(options);
  EXPECT_THAT(events, ElementsAre("lock", "freeze", "thaw", "store"));
  EXPECT_GT(result.freeze_ms, 0);
  EXPECT_LE(result.freeze_ms, result.duration_ms);
  EXPECT_TRUE(result.record.decoded_tags().frozen);

  options.stayed_frozen = [] { return false; };
  EXPECT_FALSE(Take(options).record.decoded_tags().frozen);
}

TEST_F(BackupTest, ThawsOnEveryWayOut) {
  std::vector<bool> calls;
  BackupOptions options = Options();
  options.freeze = [&](bool frozen) -> Result<void> {
    calls.push_back(frozen);
    return {};
  };
  options.dir = dir_ / "missing";
  EXPECT_FALSE(Try(options));
  EXPECT_THAT(calls, ElementsAre(true, false));

  calls.clear();
  options.dir = work_;
  options.freeze = [&](bool frozen) -> Result<void> {
    calls.push_back(frozen);
    if (frozen) return Fail(Code::kInternal, "the freezer is broken");
    return {};
  };
  auto result = Try(options);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("the freezer is broken"));
  EXPECT_THAT(calls, ElementsAre(true, false));
  EXPECT_TRUE(repository_->Snapshots().empty());
}

// Forwards to another store until it is full.
class FullStore : public blob::Store {
 public:
  FullStore(std::shared_ptr<blob::Store> store) : store_(std::move(store)) {}
  std::atomic<int64_t> room = INT64_MAX;

  using Store::Put;
  Result<void> Put(const std::string& key, std::span<const std::string_view> pieces,
                   std::stop_token stop) override {
    for (std::string_view piece : pieces) room -= static_cast<int64_t>(piece.size());
    if (room < 0) return Fail(Code::kResourceExhausted, "the store is full", "NO_SPACE");
    return store_->Put(key, pieces, stop);
  }
  Result<std::string> Get(const std::string& key, uint64_t limit, std::stop_token stop) override {
    return store_->Get(key, limit, stop);
  }
  Result<std::string> GetRange(const std::string& key, uint64_t offset, uint64_t length,
                               std::stop_token stop) override {
    return store_->GetRange(key, offset, length, stop);
  }
  Result<std::optional<uint64_t>> Size(const std::string& key, std::stop_token stop) override {
    return store_->Size(key, stop);
  }
  Result<std::vector<blob::Entry>> List(const blob::ListOptions& options,
                                        std::stop_token stop) override {
    return store_->List(options, stop);
  }
  Result<void> Remove(const std::string& key, std::stop_token stop) override {
    return store_->Remove(key, stop);
  }
  Result<std::unique_ptr<blob::StreamUpload>> PutStream(const std::string& key, std::string type,
                                                        std::stop_token stop) override {
    return store_->PutStream(key, std::move(type), stop);
  }
  Result<std::string> Presign(const std::string& key, std::chrono::seconds valid) override {
    return store_->Presign(key, valid);
  }
  std::string name() const override { return store_->name(); }
  bool remote() const override { return store_->remote(); }

 private:
  std::shared_ptr<blob::Store> store_;
};

TEST_F(BackupTest, AStoreThatIsFull) {
  for (int i = 0; i < 100; ++i) Write(work_ / std::to_string(i), Noise(1 << 20, i));
  auto full = std::make_shared<FullStore>(store_);
  store_ = full;
  Open();
  for (int64_t room : {40LL << 20, 20LL << 20, 1LL << 20}) {
    full->room = room;
    auto result = Try(Options());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kResourceExhausted);
    EXPECT_EQ(result.error().reason, "NO_SPACE");
    EXPECT_THAT(result.error().message, HasSubstr("the store is full"));
  }
  EXPECT_TRUE(repository_->Snapshots().empty());
  full->room = INT64_MAX;
  EXPECT_EQ(Take().files, 100U);
  if (!HasRestic()) return;
  CheckWithRestic();
  EXPECT_EQ(Manifest(RestoreWithRestic()), Manifest(work_));
}

TEST_F(BackupTest, AnAgentThatDies) {
  for (int i = 0; i < 50; ++i) Write(work_ / std::to_string(i), Noise(1 << 20, i));
  std::jthread killer;
  // The agent dies some time after the first connection, which may be before the next one.
  AgentTree tree([&]() -> Result<sys::Fd> {
    sys::Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = Address();
    if (connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      return FailErrno(errno, "cannot connect to the agent");
    }
    if (!killer.joinable()) {
      killer = std::jthread([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        kill(agent_, SIGKILL);
      });
    }
    return client;
  });
  auto result = Backup(*repository_, tree, Options());
  ASSERT_TRUE(killer.joinable());
  killer.join();
  if (!result) EXPECT_THAT(result.error().message, HasSubstr("cannot take a snapshot"));
  StopAgent();
  StartAgent({});
  EXPECT_EQ(Take().files, 50U);
}

}  // namespace
}  // namespace atl::snapshot
