// SPDX-License-Identifier: Apache-2.0
// What a restore that nobody finished leaves, and who finds it.
#include "agent/settle.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>

#include "agent/dir_lock.h"
#include "agent/restore_fixture_test.h"

namespace atl::agent {
namespace {

class SettleTest : public RestoreTest {
 protected:
  // A restore that changes `file` to "new", decided, and nothing of it made.
  fs::path LeaveDecided(fs::path dir) {
    Write(dir / "file", "old");
    fs::path work = work_;
    work_ = dir;  // what Fill fills
    std::string stage;
    {
      Running restore(Connect(), dir);
      EXPECT_FALSE(restore.error().has_value());
      stage = restore.stage();
      StageRecords records;
      records.File("0", "new");
      EXPECT_TRUE(Fill(stage, records).has_value());
      EXPECT_TRUE(restore.Prepare({PutAt("file", "0")}).has_value());
      StopAgent();
    }
    work_ = work;
    fs::path ready = dir / (".atoll-ready-" + stage);
    fs::rename(dir / (".atoll-restore-" + stage), ready);
    StartAgent({});
    return ready;
  }

  // The bytes of all records.
  std::string Walk(const fs::path& dir) {
    Client client(Connect());
    client.Send(protocol::Walk{.dir = dir, .exclude = {}});
    std::string records;
    while (true) {
      auto frame = client.reader().Next();
      if (!frame || !*frame) return records + "(not whole)";
      if ((*frame)->type == FrameType::kWalkEnd) return records;
      if ((*frame)->type == FrameType::kTree) records += (*frame)->payload;
    }
  }
};

TEST_F(SettleTest, AWalkFinishesWhatWasDecidedWhereverItIs) {
  fs::create_directories(work_ / "a" / "deep");
  for (const fs::path& dir : {work_, work_ / "a" / "deep"}) {
    fs::path ready = LeaveDecided(dir);
    // Not settled by this walk, and no more to be seen than the rest.
    fs::create_directory(dir / ".atoll-old-00000000000000ff");
    std::string records = Walk(work_);
    EXPECT_EQ(Slurp(dir / "file"), "new") << dir;
    EXPECT_FALSE(fs::exists(ready)) << dir;
    EXPECT_EQ(records.find(".atoll-"), std::string::npos) << dir;
    EXPECT_NE(records.find("deep"), std::string::npos);
    EXPECT_EQ(records.find("(not whole)"), std::string::npos);
  }
}

TEST_F(SettleTest, NotedDirectoriesAreFoundUntilTheyAreSettled) {
  fs::path notes = dir_ / "notes";
  fs::create_directory(notes);
  fs::create_directory(work_ / "settled");
  LeaveDecided(work_);
  Write(notes / "0123456789abcdef", work_);
  Write(notes / "fedcba9876543210", work_);
  Write(notes / "00000000000000aa", work_ / "settled");
  Write(notes / "00000000000000bb", dir_ / "gone");
  Write(notes / "00000000000000cc", "not a path");
  for (int start = 0; start < 2; ++start) {
    auto dirs = DirsToSettle(notes);
    EXPECT_EQ(std::count(dirs.begin(), dirs.end(), work_.string()), 1);
    EXPECT_THAT(dirs, testing::Not(testing::Contains((work_ / "settled").string())));
    // Whoever was to settle it was killed before it did.
    EXPECT_EQ(std::distance(fs::directory_iterator(notes), {}), 2);
  }
  EXPECT_EQ(SettleMain({work_}), 0);
  EXPECT_EQ(Slurp(work_ / "file"), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 2);
  EXPECT_THAT(DirsToSettle(notes), testing::Not(testing::Contains(work_.string())));
  EXPECT_TRUE(fs::is_empty(notes));
}

TEST_F(SettleTest, OneDirectoryDoesNotKeepTheNextFromBeingSwept) {
  fs::create_directories(work_ / ".atoll-old-00000000000000ff" / "old");
  EXPECT_EQ(SettleMain({dir_ / "gone", work_}), 1);
  EXPECT_TRUE(fs::is_empty(work_));
}

// As PID 1 of namespaces of its own: 0, or the line that was not as it should be.
int RestoresAreNoted(const std::string& dir) {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return __LINE__;
  if (mount("tmpfs", "/var/lib", "tmpfs", 0, nullptr) != 0) return __LINE__;
  for (bool killed : {false, true}) {
    pid_t child = fork();
    if (child == 0) {
      {
        DecidedRestore noted(dir, "0123456789abcdef");
        if (killed) _exit(0);  // nothing is destroyed
      }
      _exit(0);
    }
    if (waitpid(child, nullptr, 0) != child) return __LINE__;
    bool left = fs::exists(std::string(kRestoreNotes) + "/0123456789abcdef");
    if (left != killed) return __LINE__;
    auto dirs = DirsToSettle();
    if ((std::count(dirs.begin(), dirs.end(), dir) == 1) != killed) return __LINE__;
  }
  return 0;
}

TEST_F(SettleTest, ASandboxNotesWhatItDecides) {
  LeaveDecided(work_);
  StopAgent();
  std::string dir = work_;
  pid_t outer = fork();
  if (outer == 0) {
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) _exit(255);
    pid_t init = fork();
    if (init == 0) _exit(RestoresAreNoted(dir));
    int status = 0;
    waitpid(init, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 254);
  }
  int status = 0;
  waitpid(outer, &status, 0);
  if (WEXITSTATUS(status) == 255) GTEST_SKIP() << "no namespaces";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the line";
}

// One that cannot be finished is not called finished.
TEST_F(SettleTest, AKilledRestoreThatIsLockedIsIncomplete) {
  Write(work_ / "file", "old");
  Running restore(Connect(), work_);
  StageRecords records;
  records.File("0", "new");
  ASSERT_TRUE(Fill(restore.stage(), records).has_value());
  ASSERT_TRUE(restore.Prepare({PutAt("file", "0")}).has_value());
  pid_t child = TransferPid();
  ASSERT_GT(child, 0);
  ASSERT_EQ(kill(agent_, SIGSTOP), 0);
  ASSERT_EQ(kill(child, SIGKILL), 0);
  fs::rename(work_ / (".atoll-restore-" + restore.stage()),
             work_ / (".atoll-ready-" + restore.stage()));
  sys::Fd dir = *sys::Open(work_, O_RDONLY | O_DIRECTORY);
  std::optional<sys::Fd> lock;
  ASSERT_TRUE(Eventually([&] { return (lock = *LockDir(dir.get())).has_value(); }));
  ASSERT_EQ(kill(agent_, SIGCONT), 0);
  auto end = restore.AwaitEnd();
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Code::kUnavailable);
  EXPECT_EQ(ReasonOf(end.error()), "RESTORE_INCOMPLETE");
  EXPECT_EQ(Slurp(work_ / "file"), "old");
  lock.reset();
  Walk(work_);
  EXPECT_EQ(Slurp(work_ / "file"), "new");
}

}  // namespace
}  // namespace atl::agent
