// SPDX-License-Identifier: Apache-2.0
// Restores that are killed, disturbed by a writer, or on layers of an overlay.
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <atomic>
#include <random>

#include "agent/restore_fixture_test.h"

namespace atl::agent {
namespace {

constexpr int kEntries = 120;

// Two trees that differ in every way, and how to make each of the other.
class RestoreFaultTest : public RestoreTest {
 protected:
  void SetUp() override {
    RestoreTest::SetUp();
    // Where removing files costs nothing, if that can be had.
    StopAgent();
    if (unshare(CLONE_NEWNS) == 0 &&
        mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0) {
      mounts_ = mount("tmpfs", work_.c_str(), "tmpfs", 0, nullptr) == 0;
    }
    if (mounts_) fs::create_directory(work_ / "in");
    if (mounts_) work_ /= "in";
    StartAgent({});
  }
  void TearDown() override {
    StopAgent();
    if (mounts_) umount2(work_.parent_path().c_str(), MNT_DETACH);
    RestoreTest::TearDown();
  }

  static std::string Name(const char* kind, int i) { return kind + std::to_string(i); }

  // Side 0 or 1. What is on one side a file is on the other a directory, and so on.
  Result<std::string> Begin(Running* restore, int side) {
    StageRecords records;
    std::vector<Change> changes;
    std::string content = side == 0 ? "zero" : "one, and longer";
    for (int i = 0; i < kEntries; ++i) {
      std::string staged = "s" + std::to_string(i);
      std::string path = "sub/" + Name("changed", i);
      if (i % 4 == side) {
        records.Dir(staged).File(staged + "/in", content).Meta(staged, DirMeta());
        changes.push_back(PutAt(path, staged));
      } else if (i % 4 == 2 + side) {
        records.Link(staged, content);
        changes.push_back(PutAt(path, staged));
        changes.push_back(MetaAt(path, {.mode = S_IFLNK | 0777, .mtime = {.seconds = 5}}));
      } else {
        records.File(staged, content, FileMeta(side == 0 ? 0600 : 0644));
        changes.push_back(PutAt(path, staged));
      }
      changes.push_back(RemoveAtPath(Name(side == 0 ? "b" : "a", i)));
      records.File(staged + "-x", content);
      changes.push_back(PutAt(Name(side == 0 ? "a" : "b", i), staged + "-x"));
      changes.push_back(MetaAt("sub/" + Name("kept", i), FileMeta(side == 0 ? 0640 : 0600)));
    }
    // Removed first, then there again under the same name.
    changes.push_back(RemoveAtPath("twice"));
    records.File("twice", content);
    changes.push_back(PutAt("twice", "twice"));
    changes.push_back(MetaAt("sub", DirMeta(side == 0 ? 0700 : 0755)));
    changes.push_back(MetaAt("", DirMeta(side == 0 ? 0750 : 0755)));
    TRY(Fill(restore->stage(), records));
    TRY(restore->Prepare(changes));
    return restore->stage();
  }

  void MakeFirst() {
    fs::create_directory(work_ / "sub");
    for (int i = 0; i < kEntries; ++i) {
      Write(work_ / "sub" / Name("kept", i), "kept");
      timespec times[2] = {{1, 1}, {kOldTime, 7}};
      utimensat(AT_FDCWD, (work_ / "sub" / Name("kept", i)).c_str(), times, 0);
    }
    for (int side : {1, 0}) {
      Running restore(Connect(), work_);
      ASSERT_TRUE(Begin(&restore, side).has_value());
      ASSERT_TRUE(restore.Commit().has_value());
      states_[side] = Describe();
    }
    ASSERT_NE(states_[0], states_[1]);
  }

  // 0 or 1, or -1 when it is neither.
  int Side() const {
    std::string now = Describe();
    return now == states_[0] ? 0 : now == states_[1] ? 1 : -1;
  }

  pid_t StartSettle() const {
    pid_t settle = fork();
    if (settle != 0) return settle;
    execl(ATOLL_AGENT_PROGRAM, "atoll-agent", "settle", work_.c_str(), nullptr);
    _exit(127);
  }

  // The first lines that are not as on one side.
  std::string Difference() const {
    std::string text;
    for (const std::string& state : states_) {
      std::istringstream want(state);
      std::istringstream have(Describe());
      std::string left;
      std::string right;
      while (std::getline(want, left) && std::getline(have, right) && left == right) {
      }
      text += "\n  expected " + left + "\n  found    " + right;
    }
    return text;
  }

  bool mounts_ = false;
  std::string states_[2];
};

TEST_F(RestoreFaultTest, AKilledCommitIsFinishedByTheNextProcess) {
  MakeFirst();
  std::mt19937 random(static_cast<unsigned>(getpid()));
  int side = 0;
  int finished = 0;
  int killed = 0;
  for (int round = 0; round < 80; ++round) {
    Running restore(Connect(), work_);
    ASSERT_FALSE(restore.error().has_value()) << restore.error()->message;
    auto begun = Begin(&restore, 1 - side);
    ASSERT_TRUE(begun.has_value()) << begun.error().message;
    pid_t child = TransferPid();
    ASSERT_GT(child, 0);
    restore.SendCommit();
    // Up to three in a row.
    for (unsigned again = 0; again <= random() % 3; ++again) {
      usleep(random() % 6000);
      if (again > 0) child = TransferPid();
      if (child > 0 && kill(child, SIGKILL) == 0) ++killed;
    }
    auto end = restore.AwaitEnd();
    restore.client().Close();
    int now = Side();
    ASSERT_NE(now, -1) << "round " << round << ": a mixture: " << Difference();
    if (end) {
      EXPECT_EQ(now, 1 - side);
      ++finished;
    } else {
      EXPECT_EQ(now, side) << end.error().message;
    }
    side = now;
  }
  EXPECT_GT(finished, 0);
  EXPECT_GT(killed, 0);
}

TEST_F(RestoreFaultTest, WhatAKilledAgentLeftIsSettledBeforeTheNextLooks) {
  MakeFirst();
  std::mt19937 random(static_cast<unsigned>(getpid()));
  int side = 0;
  int changed = 0;
  for (int round = 0; round < 60; ++round) {
    {
      Running restore(Connect(), work_);
      ASSERT_FALSE(restore.error().has_value()) << restore.error()->message;
      ASSERT_TRUE(Begin(&restore, 1 - side).has_value());
      restore.SendCommit();
      usleep(random() % 6000);
      StopAgent();
    }
    // A sandbox may be stopped more than once on its way up.
    for (unsigned again = 0; again < random() % 3; ++again) {
      pid_t settle = StartSettle();
      usleep(random() % 4000);
      kill(settle, SIGKILL);
      waitpid(settle, nullptr, 0);
    }
    // The killed agent's child may hold the lock a moment longer; in a sandbox nothing outlives it.
    EXPECT_TRUE(Eventually([&] {
      int status = -1;
      waitpid(StartSettle(), &status, 0);
      return status == 0;
    }));
    // The directory's own time: an undecided stage was in it.
    timespec times[2] = {{1, 1}, {kOldTime, 9}};
    utimensat(AT_FDCWD, work_.c_str(), times, 0);
    int now = Side();
    ASSERT_NE(now, -1) << "round " << round << ": a mixture: " << Difference();
    changed += now == side ? 0 : 1;
    side = now;
    StartAgent({});
  }
  EXPECT_GT(changed, 0);
}

TEST_F(RestoreFaultTest, WhatAnEarlierRestoreLeftIsSettledByTheNext) {
  MakeFirst();
  Running restore(Connect(), work_);
  auto stage = Begin(&restore, 1);
  ASSERT_TRUE(stage.has_value());
  StopAgent();
  restore.client().Close();
  // As if it had been killed right behind the decision.
  fs::rename(work_ / (".atoll-restore-" + *stage), work_ / (".atoll-ready-" + *stage));
  fs::create_directory(work_ / ".atoll-old-00000000000000ff");
  fs::create_directories(work_ / ".atoll-restore-00000000000000fe" / "new" / "x");
  StartAgent({});
  Running next(Connect(), work_);
  ASSERT_FALSE(next.error().has_value()) << next.error()->message;
  next.Abandon();
  EXPECT_EQ(Side(), 1);
}

TEST_F(RestoreFaultTest, AJournalThatIsTornIsNone) {
  MakeFirst();
  for (int cut : {0, 10, 200}) {
    Running restore(Connect(), work_);
    auto stage = Begin(&restore, 1);
    ASSERT_TRUE(stage.has_value());
    StopAgent();
    restore.client().Close();
    fs::path ready = work_ / (".atoll-ready-" + *stage);
    fs::rename(work_ / (".atoll-restore-" + *stage), ready);
    if (cut == 0) {
      sys::Fd file = *sys::Open(ready / "journal", O_WRONLY);
      ASSERT_EQ(pwrite(file.get(), "zz", 2, 2000), 2);
    } else {
      fs::resize_file(ready / "journal", fs::file_size(ready / "journal") - cut);
    }
    StartAgent({});
    Running next(Connect(), work_);
    ASSERT_FALSE(next.error().has_value()) << next.error()->message;
    next.Abandon();
    timespec times[2] = {{1, 1}, {kOldTime, 9}};
    utimensat(AT_FDCWD, work_.c_str(), times, 0);
    EXPECT_EQ(Side(), 0);
  }
}

// Makes, renames and removes entries wherever the restore works.
class BusyWriter {
 public:
  explicit BusyWriter(const fs::path& dir) : dir_(dir) {
    thread_ = std::thread([this] {
      std::error_code ignored;
      for (int i = 0; !stop_; ++i) {
        std::string name = std::to_string(i % 100);
        std::ofstream(dir_ / "sub" / ("busy" + name)) << i;
        fs::rename(dir_ / "sub" / ("busy" + name), dir_ / ("busy" + name), ignored);
        fs::remove_all(dir_ / "sub" / ("changed" + name), ignored);
        fs::create_directory(dir_ / ("b" + name), ignored);
        std::ofstream(dir_ / ("b" + name) / "in the way") << i;
      }
    });
  }
  ~BusyWriter() {
    stop_ = true;
    thread_.join();
  }

 private:
  fs::path dir_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(RestoreFaultTest, ABusyWriterDoesNotKeepACommitFromItsEnd) {
  MakeFirst();
  for (int round = 0; round < 10; ++round) {
    BusyWriter writer(work_);
    Running restore(Connect(), work_);
    ASSERT_FALSE(restore.error().has_value()) << restore.error()->message;
    ASSERT_TRUE(Begin(&restore, 1 - round % 2).has_value());
    auto end = restore.Commit();
    EXPECT_TRUE(end.has_value()) << end.error().message;
  }
  // Its traces are gone when nobody disturbs.
  for (int side : {1, 0}) {
    Running restore(Connect(), work_);
    ASSERT_TRUE(Begin(&restore, side).has_value());
    ASSERT_TRUE(restore.Commit().has_value());
  }
  for (const auto& entry : fs::directory_iterator(work_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".atoll"));
  }
  EXPECT_EQ(Slurp(work_ / "a1"), "zero");
}

// As in a sandbox: the directory and what is in it come from the image.
TEST_F(RestoreFaultTest, DirectoriesOfALowerLayerAreReplacedToo) {
  StopAgent();
  if (!mounts_) GTEST_SKIP() << "cannot mount";
  for (const char* redirect : {"off", "on"}) {
    fs::path layers = work_.parent_path() / "layers";
    fs::create_directory(layers);
    for (const char* name :
         {"lower/removed/deeper", "lower/replaced/deeper", "lower/kept", "upper", "work"}) {
      fs::create_directories(layers / name);
    }
    Write(layers / "lower" / "removed" / "deeper" / "file", "from below");
    Write(layers / "lower" / "replaced" / "deeper" / "file", "from below");
    Write(layers / "lower" / "kept" / "file", "from below");
    Write(layers / "lower" / "kept" / "changed", "from below");
    Write(layers / "lower" / "gone", "from below");
    std::string options = "lowerdir=" + (layers / "lower").string() +
                          ",upperdir=" + (layers / "upper").string() +
                          ",workdir=" + (layers / "work").string() + ",redirect_dir=" + redirect;
    ASSERT_EQ(mount("overlay", work_.c_str(), "overlay", 0, options.c_str()), 0);
    StartAgent({});
    StageRecords records;
    records.File("0", "new").Dir("1").File("1/in", "new").File("2", "new");
    auto end = RestoreAll(
        records, {RemoveAtPath("removed"), RemoveAtPath("gone"), PutAt("replaced", "0"),
                  PutAt("fresh", "1"), PutAt("kept/changed", "2"), MetaAt("kept", DirMeta(0711))});
    ASSERT_TRUE(end.has_value()) << redirect << ": " << end.error().message;
    EXPECT_EQ(Slurp(work_ / "replaced"), "new");
    EXPECT_EQ(Slurp(work_ / "fresh" / "in"), "new");
    EXPECT_EQ(Slurp(work_ / "kept" / "changed"), "new");
    EXPECT_EQ(Slurp(work_ / "kept" / "file"), "from below");
    EXPECT_EQ(Stat(work_ / "kept").st_mode, S_IFDIR | 0711U);
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 3);
    StopAgent();
    umount2(work_.c_str(), MNT_DETACH);
    fs::remove_all(layers);
  }
}

TEST_F(RestoreFaultTest, AMountPointIsNotTouched) {
  StopAgent();
  if (!mounts_) GTEST_SKIP() << "cannot mount";
  fs::create_directory(work_ / "mounted");
  ASSERT_EQ(mount("tmpfs", (work_ / "mounted").c_str(), "tmpfs", 0, nullptr), 0);
  Write(work_ / "mounted" / "file", "other");
  StartAgent({});
  for (const Change& change : {RemoveAtPath("mounted"), PutAt("mounted", "0"),
                               RemoveAtPath("mounted/file"), PutAt("mounted/new", "0")}) {
    StageRecords records;
    records.File("0", "new");
    auto end = RestoreAll(records, {change});
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().code, Code::kFailedPrecondition) << end.error().message;
  }
  EXPECT_EQ(Slurp(work_ / "mounted" / "file"), "other");
  StopAgent();
  umount2((work_ / "mounted").c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace atl::agent
