// SPDX-License-Identifier: Apache-2.0
// What fills a stage.
#include <sched.h>
#include <sys/mount.h>

#include "agent/restore_fixture_test.h"

namespace atl::agent {
namespace {

class StageWriteTest : public RestoreTest {
 protected:
  // What the records make, moved to where it can be looked at.
  Result<protocol::End> Make(StageRecords& records, const std::vector<std::string>& names) {
    std::vector<Change> changes;
    for (const std::string& name : names) changes.push_back(PutAt(name, name));
    return RestoreAll(records, changes);
  }
  // What the agent says to records alone.
  Result<protocol::End> Try(StageRecords& records) {
    Running restore(Connect(), work_);
    auto end = Fill(restore.stage(), records);
    restore.Abandon();
    EXPECT_TRUE(fs::is_empty(work_));
    return end;
  }
};

TEST_F(StageWriteTest, SparseFilesStaySparse) {
  constexpr uint64_t kSize = 10ULL << 30U;
  StageRecords records;
  records.Add(protocol::StageFile{.tag = 1, .path = "hole", .size = kSize, .meta = FileMeta()});
  records.AddBytes(1, kSize - 3, "end").Add(protocol::StageEnd{.tag = 1});
  records.File("zeros", std::string(600'000, '\0'));
  std::string islands(1 << 18, '\0');
  islands[100'000] = 'x';
  islands[200'001] = 'y';
  records.File("islands", islands);
  auto end = Make(records, {"hole", "zeros", "islands"});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  EXPECT_EQ(static_cast<uint64_t>(Stat(work_ / "hole").st_size), kSize);
  EXPECT_LE(Stat(work_ / "hole").st_blocks, 64);
  EXPECT_EQ(Stat(work_ / "zeros").st_blocks, 0);
  EXPECT_EQ(Slurp(work_ / "zeros"), std::string(600'000, '\0'));
  EXPECT_LE(Stat(work_ / "islands").st_blocks, 32);
  EXPECT_EQ(Slurp(work_ / "islands"), islands);
}

TEST_F(StageWriteTest, BytesMayComeInAnyOrderAndForSeveralFilesAtOnce) {
  StageRecords records;
  for (uint32_t tag = 1; tag <= 64; ++tag) {
    records.Add(protocol::StageFile{
        .tag = tag, .path = std::to_string(tag), .size = 10, .meta = FileMeta()});
  }
  std::vector<std::string> names;
  for (uint32_t tag = 64; tag >= 1; --tag) {
    records.AddBytes(tag, 5, "world").AddBytes(tag, 0, "hello");
    names.push_back(std::to_string(tag));
  }
  for (uint32_t tag = 1; tag <= 64; ++tag) records.Add(protocol::StageEnd{.tag = tag});
  auto end = Make(records, names);
  ASSERT_TRUE(end.has_value()) << end.error().message;
  for (const std::string& name : names) EXPECT_EQ(Slurp(work_ / name), "helloworld");
}

TEST_F(StageWriteTest, LinksFifosOwnersAndSpecialModes) {
  StageRecords records;
  protocol::EntryMeta owned = FileMeta(04751);
  if (geteuid() == 0) {
    owned.uid = 1234;
    owned.gid = 4321;
  }
  records.Dir("d").File("d/file", "content", owned).HardLink("d/same", "d/file");
  records.Link("d/link", "/nowhere");
  records.Add(protocol::StageSpecial{
      .path = "d/fifo", .link_target = {}, .hard_link_to = {}, .meta = {.mode = S_IFIFO | 0622}});
  records.Meta("d", DirMeta(01777));
  auto end = Make(records, {"d"});
  ASSERT_TRUE(end.has_value()) << end.error().message;
  struct stat st = Stat(work_ / "d" / "file");
  EXPECT_EQ(st.st_mode, S_IFREG | 04751U);
  EXPECT_EQ(st.st_uid, owned.uid);
  EXPECT_EQ(st.st_gid, owned.gid);
  EXPECT_EQ(st.st_mtim.tv_nsec, 7);
  EXPECT_EQ(st.st_ino, Stat(work_ / "d" / "same").st_ino);
  EXPECT_EQ(st.st_nlink, 2U);
  EXPECT_EQ(fs::read_symlink(work_ / "d" / "link"), "/nowhere");
  EXPECT_EQ(Stat(work_ / "d" / "fifo").st_mode, S_IFIFO | 0622U);
  EXPECT_EQ(Stat(work_ / "d").st_mode, S_IFDIR | 01777U);
  EXPECT_EQ(Stat(work_ / "d").st_mtim.tv_sec, static_cast<time_t>(kOldTime));
}

TEST_F(StageWriteTest, TwoConnectionsMayMakeTheSameDirectory) {
  Running restore(Connect(), work_);
  StageRecords one;
  StageRecords two;
  one.Dir("d").File("d/one", "1");
  two.Dir("d").File("d/two", "2");
  ASSERT_TRUE(Fill(restore.stage(), one).has_value());
  ASSERT_TRUE(Fill(restore.stage(), two).has_value());
  ASSERT_TRUE(restore.Prepare({PutAt("d", "d")}).has_value());
  ASSERT_TRUE(restore.Commit().has_value());
  EXPECT_EQ(Slurp(work_ / "d" / "one") + Slurp(work_ / "d" / "two"), "12");
}

TEST_F(StageWriteTest, ADirectoryThatHandsItsGroupDownHasNoSay) {
  if (geteuid() != 0) GTEST_SKIP() << "must be root";
  ASSERT_EQ(chown(work_.c_str(), 0, 777), 0);
  ASSERT_EQ(chmod(work_.c_str(), 02775), 0);
  StageRecords records;
  records.Dir("d").File("d/file", "x").Meta("d", DirMeta());
  ASSERT_TRUE(Make(records, {"d"}).has_value());
  EXPECT_EQ(Stat(work_ / "d").st_gid, 0U);
  EXPECT_EQ(Stat(work_ / "d").st_mode, S_IFDIR | 0755U);
  EXPECT_EQ(Stat(work_ / "d" / "file").st_gid, 0U);
}

TEST_F(StageWriteTest, EveryFileHasItsOwner) {
  if (geteuid() != 0) GTEST_SKIP() << "must be root";
  auto owned = [](uint32_t uid, uint32_t gid) {
    protocol::EntryMeta meta = FileMeta();
    meta.uid = uid;
    meta.gid = gid;
    return meta;
  };
  protocol::EntryMeta hands_down = DirMeta(02755);
  hands_down.gid = 777;
  StageRecords records;
  records.Dir("d").File("d/a", "x").File("d/b", "x", owned(5, 0)).File("d/c", "x", owned(0, 6));
  records.File("d/d", "x").Meta("d", hands_down);
  // Late, but not wrong.
  records.File("d/e", "x").File("d/f", "x", owned(0, 777)).Meta("d", hands_down);
  ASSERT_TRUE(Make(records, {"d"}).has_value());
  std::string owners;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    struct stat st = Stat(work_ / "d" / name);
    owners += std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid) + " ";
  }
  EXPECT_EQ(owners, "0:0 5:0 0:6 0:0 0:0 0:777 ");
}

TEST_F(StageWriteTest, WhatIsNotPossibleIsRefused) {
  auto refused = [&](StageRecords& records, Code code) {
    auto end = Try(records);
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().code, code) << end.error().message;
  };
  for (const std::string& path :
       {std::string("../out"), std::string("/tmp/out"), std::string("a/../../out"), std::string(),
        std::string("a//b"), std::string("."), std::string("a\0b", 3)}) {
    StageRecords file;
    refused(file.File(path, "x"), Code::kInvalidArgument);
    StageRecords dir;
    refused(dir.Dir(path), Code::kInvalidArgument);
    StageRecords link;
    refused(link.Link(path, "x"), Code::kInvalidArgument);
  }
  StageRecords outside;
  outside.HardLink("a", "../../../secret");
  refused(outside, Code::kInvalidArgument);
  StageRecords device;
  device.Add(protocol::StageSpecial{
      .path = "dev", .link_target = {}, .hard_link_to = {}, .meta = {.mode = S_IFCHR | 0600}});
  refused(device, Code::kInvalidArgument);
  StageRecords behind;
  behind.Add(protocol::StageFile{.tag = 1, .path = "f", .size = 3, .meta = FileMeta()});
  behind.AddBytes(1, 2, "xx");
  refused(behind, Code::kInvalidArgument);
  StageRecords far;
  far.Add(protocol::StageFile{.tag = 1, .path = "f", .size = 3, .meta = FileMeta()});
  far.AddBytes(1, UINT64_MAX, "x");
  refused(far, Code::kInvalidArgument);
  StageRecords unknown;
  refused(unknown.AddBytes(9, 0, "x"), Code::kInvalidArgument);
  StageRecords unfinished;
  unfinished.Add(protocol::StageFile{.tag = 1, .path = "f", .size = 3, .meta = FileMeta()});
  refused(unfinished, Code::kInvalidArgument);
  StageRecords twice;
  refused(twice.File("f", "x").File("f", "y"), Code::kAlreadyExists);
  StageRecords orphan;
  refused(orphan.File("no/parent", "x"), Code::kNotFound);
  StageRecords other;
  other.Add(protocol::WantFile{.tag = 1, .path = "x"});
  refused(other, Code::kInvalidArgument);
}

TEST_F(StageWriteTest, NothingIsWrittenThroughASymlink) {
  fs::create_directory(dir_ / "outside");
  StageRecords records;
  records.Link("link", (dir_ / "outside").string()).File("link/file", "x");
  EXPECT_FALSE(Try(records).has_value());
  StageRecords meta;
  meta.Link("link", (dir_ / "outside").string()).Meta("link", DirMeta(0700));
  EXPECT_FALSE(Try(meta).has_value());
  EXPECT_TRUE(fs::is_empty(dir_ / "outside"));
  EXPECT_NE(Stat(dir_ / "outside").st_mode & 0777U, 0700U);
}

TEST_F(StageWriteTest, AStageMustExistAndBeOne) {
  StageRecords records;
  for (const char* stage : {"", "../../etc", "0123456789abcdef", "0123456789ABCDEF"}) {
    EXPECT_FALSE(Fill(stage, records).has_value()) << stage;
  }
}

TEST_F(StageWriteTest, AFullDiskIsToldWithThePathAndLeavesTheOldContent) {
  StopAgent();
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    GTEST_SKIP() << "cannot mount";
  }
  ASSERT_EQ(mount("tmpfs", work_.c_str(), "tmpfs", 0, "size=4m"), 0);
  Write(work_ / "old", "old content");
  std::string before = Describe();
  StartAgent({});
  StageRecords records;
  records.File("small", "fits").File("too-large", std::string(900'000, 'x'));
  for (int i = 0; i < 6; ++i) {
    StageRecords more;
    Running restore(Connect(), work_);
    ASSERT_FALSE(restore.error().has_value());
    Client client(Connect());
    client.Send(protocol::StageWrite{.dir = work_, .stage = restore.stage()});
    Result<protocol::End> end;
    for (uint32_t tag = 1; tag <= 8; ++tag) {
      StageRecords large;
      large.Add(protocol::StageFile{
          .tag = tag, .path = "large-" + std::to_string(tag), .size = 900'000, .meta = FileMeta()});
      large.AddBytes(tag, 0, std::string(900'000, 'x')).Add(protocol::StageEnd{.tag = tag});
      if (!client.SendData(FrameType::kTree, large.writer().payload())) break;
    }
    client.SendEmpty(FrameType::kTreeEnd);
    end = client.Expect<protocol::End>();
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(ReasonOf(end.error()), "NO_SPACE");
    EXPECT_NE(end.error().message.find("large-"), std::string::npos) << end.error().message;
    restore.Abandon();
    EXPECT_EQ(Describe(), before);
  }
  StopAgent();
  umount2(work_.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace atl::agent
