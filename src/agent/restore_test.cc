// SPDX-License-Identifier: Apache-2.0
// What a restore makes of a directory.
#include <sys/file.h>
#include <sys/xattr.h>

#include "agent/restore_fixture_test.h"

namespace atl::agent {
namespace {

TEST_F(RestoreTest, PutsReplacesRemovesAndLeavesTheRest) {
  fs::create_directories(work_ / "sub" / "gone");
  Write(work_ / "kept", "kept");
  Write(work_ / "sub" / "changed", "old content");
  Write(work_ / "sub" / "gone" / "file", "old");
  Write(work_ / "chmodded", "same");
  ino_t own = Stat(work_).st_ino;
  ino_t kept = Stat(work_ / "kept").st_ino;
  ino_t sub = Stat(work_ / "sub").st_ino;
  ino_t chmodded = Stat(work_ / "chmodded").st_ino;
  sys::Fd open_old = *sys::Open(work_ / "sub" / "changed", O_RDONLY);
  sys::Fd open_dir = *sys::Open(work_, O_RDONLY | O_DIRECTORY);

  StageRecords records;
  records.File("0", "new content", FileMeta(0600)).Dir("1").File("1/inner", "inner");
  records.Meta("1", DirMeta(0710));
  auto end = RestoreAll(records, {PutAt("sub/changed", "0"), RemoveAtPath("sub/gone"),
                                  PutAt("fresh", "1"), MetaAt("chmodded", FileMeta(0751)),
                                  MetaAt("sub", DirMeta(0700)), MetaAt("", DirMeta(0755))});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(end->skipped, 0U);

  EXPECT_EQ(Slurp(work_ / "sub" / "changed"), "new content");
  EXPECT_EQ(Stat(work_ / "sub" / "changed").st_mode, S_IFREG | 0600U);
  EXPECT_FALSE(fs::exists(work_ / "sub" / "gone"));
  EXPECT_EQ(Slurp(work_ / "fresh" / "inner"), "inner");
  EXPECT_EQ(Stat(work_ / "fresh").st_mode, S_IFDIR | 0710U);
  EXPECT_EQ(Stat(work_ / "chmodded").st_mode, S_IFREG | 0751U);
  for (const char* path : {"sub", "sub/changed", "fresh", "fresh/inner", "chmodded", "."}) {
    EXPECT_EQ(Stat(work_ / path).st_mtim.tv_sec, static_cast<time_t>(kOldTime)) << path;
  }
  EXPECT_EQ(Stat(work_).st_ino, own);
  EXPECT_EQ(Stat(work_ / "kept").st_ino, kept);
  EXPECT_EQ(Stat(work_ / "sub").st_ino, sub);
  EXPECT_EQ(Stat(work_ / "chmodded").st_ino, chmodded);
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 4);

  char buffer[32] = {};
  EXPECT_EQ(pread(open_old.get(), buffer, sizeof(buffer), 0), 11);
  EXPECT_STREQ(buffer, "old content");
  struct stat st{};
  EXPECT_EQ(fstatat(open_dir.get(), "fresh/inner", &st, 0), 0) << "an open shell stays in it";
}

TEST_F(RestoreTest, TypesChange) {
  fs::create_directory(work_ / "dir-to-link");
  Write(work_ / "dir-to-link" / "file", "x");
  fs::create_directories(work_ / "dir-to-file" / "deep");
  Write(work_ / "file-to-dir", "x");
  fs::create_symlink("kept", work_ / "link-to-dir");
  fs::create_symlink("/etc", work_ / "link-to-file");
  StageRecords records;
  records.Link("0", "../elsewhere").File("1", "now a file").Dir("2").File("2/in", "in");
  records.Dir("3").File("3/in", "in").File("4", "now a file");
  auto end = RestoreAll(
      records, {PutAt("dir-to-link", "0"), PutAt("dir-to-file", "1"), PutAt("file-to-dir", "2"),
                PutAt("link-to-dir", "3"), PutAt("link-to-file", "4")});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(fs::read_symlink(work_ / "dir-to-link"), "../elsewhere");
  EXPECT_EQ(Slurp(work_ / "dir-to-file"), "now a file");
  EXPECT_EQ(Slurp(work_ / "file-to-dir" / "in"), "in");
  EXPECT_TRUE(fs::is_directory(fs::symlink_status(work_ / "link-to-dir")));
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(work_ / "link-to-file")));
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 5);
}

TEST_F(RestoreTest, MissingParentsAreMadeAndTakenBack) {
  work_ = dir_ / "not" / "yet" / "there";
  {
    Running restore(Connect(), work_);
    ASSERT_FALSE(restore.error().has_value());
    EXPECT_TRUE(fs::exists(work_));
    EXPECT_GT(restore.free_bytes(), 0U);
    restore.Abandon();
  }
  EXPECT_FALSE(fs::exists(dir_ / "not"));
  StageRecords records;
  records.File("a", "content");
  ASSERT_TRUE(RestoreAll(records, {PutAt("a", "a")}).has_value());
  EXPECT_EQ(Slurp(work_ / "a"), "content");
}

TEST_F(RestoreTest, WhatIsNoDirectoryOfTheUserIsRefused) {
  fs::path outside = dir_ / "outside";
  fs::create_directories(outside / "sub");
  Write(work_ / "file", "x");
  fs::create_symlink(outside, work_ / "link");
  for (const std::string& dir :
       {(work_ / "file").string(), (work_ / "link").string(), (work_ / "link" / "sub").string(),
        (work_ / "link" / "new").string(), (work_ / ".." / "outside").string(),
        std::string("relative"), std::string(), std::string("/"), std::string("//./"),
        std::string("/proc"), std::string("/proc/self"), std::string("//sys/kernel"),
        std::string("/dev/new"), std::string("/.atoll"), std::string("/tmp\0x", 6),
        std::string(5000, '/') + "tmp"}) {
    Running restore(Connect(), dir);
    ASSERT_TRUE(restore.error().has_value()) << dir;
    EXPECT_EQ(restore.error()->code, Code::kInvalidArgument) << restore.error()->message;
    Client reader(Connect());
    auto read = reader.Ask<protocol::End>(protocol::ReadFiles{.dir = dir});
    ASSERT_FALSE(read.has_value()) << dir;
    EXPECT_EQ(read.error().code, Code::kInvalidArgument) << read.error().message;
  }
  EXPECT_TRUE(fs::is_empty(outside / "sub"));
  EXPECT_EQ(std::distance(fs::directory_iterator(outside), {}), 1);
}

TEST_F(RestoreTest, ACutBeforeTheCommitLeavesTheOldContentAndNothingElse) {
  fs::create_directory(work_ / "sub");
  Write(work_ / "sub" / "file", "old");
  timespec times[2] = {{5, 6}, {7, 8}};
  utimensat(AT_FDCWD, work_.c_str(), times, 0);
  std::string before = Describe();
  for (int step = 0; step < 4; ++step) {
    Running restore(Connect(), work_);
    ASSERT_FALSE(restore.error().has_value()) << restore.error()->message;
    StageRecords records;
    records.File("0", "new");
    if (step > 0) EXPECT_TRUE(Fill(restore.stage(), records).has_value());
    if (step == 2) {
      protocol::RecordWriter changes;
      changes.Add(PutAt("sub/file", "0"));
      EXPECT_TRUE(restore.client().SendData(FrameType::kTree, changes.payload()).has_value());
    }
    if (step == 3) EXPECT_TRUE(restore.Prepare({PutAt("sub/file", "0")}).has_value());
    restore.Abandon();
    EXPECT_EQ(Describe(), before) << step;
  }
}

TEST_F(RestoreTest, AClientThatLeavesAfterTheCommitIsNotMissed) {
  Write(work_ / "file", "old");
  Running restore(Connect(), work_);
  StageRecords records;
  records.File("0", "new");
  ASSERT_TRUE(Fill(restore.stage(), records).has_value());
  ASSERT_TRUE(restore.Prepare({PutAt("file", "0"), PutAt("gone", "0")}).has_value());
  restore.SendCommit();
  restore.client().Close();
  EXPECT_TRUE(Eventually([&] {
    return Slurp(work_ / "file") == "new" && std::distance(fs::directory_iterator(work_), {}) == 1;
  }));
}

TEST_F(RestoreTest, OnlyOneAtATime) {
  Running first(Connect(), work_);
  ASSERT_FALSE(first.error().has_value());
  Running second(Connect(), work_);
  ASSERT_TRUE(second.error().has_value());
  EXPECT_EQ(ReasonOf(*second.error()), "RESOURCE_BUSY");
  ASSERT_TRUE(first.Prepare({}).has_value());
  ASSERT_TRUE(first.Commit().has_value());
  Running third(Connect(), work_);
  EXPECT_FALSE(third.error().has_value());
}

TEST_F(RestoreTest, ALockOfAProgramKeepsNobodyFromRestoring) {
  Write(work_ / "file", "old");
  sys::Fd program = *sys::Open(work_, O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(program.get(), LOCK_EX), 0);
  StageRecords records;
  records.File("0", "new");
  auto end = RestoreAll(records, {PutAt("file", "0")});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(Slurp(work_ / "file"), "new");
}

TEST_F(RestoreTest, ChangesThatAreNotPossibleAreRefused) {
  fs::create_directory(dir_ / "outside");
  fs::create_directory_symlink(dir_ / "outside", work_ / "link");
  Write(work_ / "file", "old");
  std::string before = Describe();
  for (const Change& change :
       {PutAt("../out", "0"), PutAt("/etc/out", "0"), PutAt("a/../../out", "0"), PutAt("", "0"),
        PutAt("file", "missing"), PutAt("file", "../file"), PutAt("file", "/etc/passwd"),
        RemoveAtPath(".."), RemoveAtPath(""), RemoveAtPath("a//b"), RemoveAtPath("./a"),
        RemoveAtPath(std::string("a\0b", 3)), PutAt(".atoll-ready-0123456789abcdef", "0"),
        PutAt(".atoll-restore-0123456789abcdef/new/x", "0"),
        RemoveAtPath(".atoll-old-0123456789abcdef"), PutAt(std::string(256, 'n'), "0"),
        MetaAt("../x", FileMeta())}) {
    StageRecords records;
    records.File("0", "new");
    auto end = RestoreAll(records, {change});
    ASSERT_FALSE(end.has_value()) << change.path << " " << change.staged;
    EXPECT_EQ(end.error().code, Code::kInvalidArgument) << end.error().message;
    EXPECT_EQ(Describe(), before);
  }
  // What a symlink leads to is not touched: the symlink itself gives way to a directory.
  StageRecords records;
  records.File("0", "new");
  auto end = RestoreAll(records, {RemoveAtPath("link/nothing"), PutAt("link/file", "0")});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(Slurp(work_ / "link" / "file"), "new");
  EXPECT_TRUE(fs::is_directory(fs::symlink_status(work_ / "link")));
  EXPECT_TRUE(fs::is_empty(dir_ / "outside"));
}

TEST_F(RestoreTest, AttributesAreThoseOfTheSnapshot) {
  Write(work_ / "meta", "same");
  if (setxattr((work_ / "meta").c_str(), "user.old", "1", 1, 0) != 0) GTEST_SKIP() << "no xattrs";
  protocol::EntryMeta meta = FileMeta();
  meta.xattrs = {{"user.new", std::string("a\0b", 3)}};
  StageRecords records;
  records.File("0", "new", meta);
  auto end = RestoreAll(records, {PutAt("put", "0"), MetaAt("meta", meta)});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  for (const char* name : {"put", "meta"}) {
    char value[16] = {};
    EXPECT_EQ(getxattr((work_ / name).c_str(), "user.new", value, sizeof(value)), 3) << name;
    EXPECT_EQ(getxattr((work_ / name).c_str(), "user.old", value, sizeof(value)), -1) << name;
  }
}

TEST_F(RestoreTest, NamesMayBeLongAndOfAnyBytes) {
  std::string longest(255, 'n');
  std::string odd = "caf\xc3\xa9 \xff\n'\"";
  Write(work_ / odd, "old");
  StageRecords records;
  records.Dir(longest).File(longest + "/" + longest, "long").File(odd, "new");
  auto end = RestoreAll(records, {PutAt(longest, longest), PutAt(odd, odd)});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(Slurp(work_ / longest / longest), "long");
  EXPECT_EQ(Slurp(work_ / odd), "new");
}

TEST_F(RestoreTest, WhatVanishedMeanwhileComesBack) {
  fs::create_directories(work_ / "a" / "b");
  Write(work_ / "a" / "b" / "file", "old");
  Write(work_ / "meta", "x");
  Running restore(Connect(), work_);
  StageRecords records;
  records.File("0", "new").Dir("1").File("1/in", "in");
  ASSERT_TRUE(Fill(restore.stage(), records).has_value());
  ASSERT_TRUE(restore
                  .Prepare({RemoveAtPath("a/gone"), PutAt("a/b/file", "0"), PutAt("made", "1"),
                            MetaAt("meta", FileMeta()), MetaAt("a/b", DirMeta(0711))})
                  .has_value());
  // A program writes between the plan and the commit.
  fs::remove_all(work_ / "a");
  Write(work_ / "a", "a file by now");
  Write(work_ / "made", "in the way");
  fs::remove(work_ / "meta");
  auto end = restore.Commit();
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(end->skipped, 1U);
  EXPECT_EQ(Slurp(work_ / "a" / "b" / "file"), "new");
  EXPECT_EQ(Slurp(work_ / "made" / "in"), "in");
  EXPECT_EQ(Stat(work_ / "a" / "b").st_mode, S_IFDIR | 0711U);
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 2);
}

TEST_F(RestoreTest, DeepContentThatIsReplacedIsRemoved) {
  fs::path deep = work_ / "deep";
  sys::Fd at = *sys::Open(work_, O_RDONLY | O_DIRECTORY);
  for (int level = 0; level < 400; ++level) {
    ASSERT_EQ(mkdirat(at.get(), "deep", 0755), 0);
    at = *sys::OpenAt(at.get(), "deep", O_RDONLY | O_DIRECTORY);
  }
  StageRecords records;
  auto end = RestoreAll(records, {RemoveAtPath("deep")});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_TRUE(fs::is_empty(work_));
}

}  // namespace
}  // namespace atl::agent
