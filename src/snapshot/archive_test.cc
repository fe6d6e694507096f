// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "snapshot/browse_fixture_test.h"

namespace atl::snapshot {
namespace {

struct Member {
  mode_t mode = 0;
  int64_t size = 0;
  int64_t uid = 0;
  int64_t mtime = 0;
  long nanos = 0;
  std::string hard_link;
  std::string symlink;
  std::string content;
  std::map<std::string, std::string> xattrs;
  int sparse = 0;
};

class ArchiveSnapshot : public BrowseTest {
 protected:
  std::string Write(const repository::SnapshotRecord& snapshot) {
    std::string bytes;
    auto written =
        WriteArchive(*repository_, snapshot, [&](std::string_view piece) -> Result<void> {
          bytes += piece;
          return {};
        });
    EXPECT_TRUE(written) << written.error().message;
    return bytes;
  }
  static std::map<std::string, Member> Read(const std::string& bytes) {
    std::map<std::string, Member> members;
    archive* in = archive_read_new();
    archive_read_support_filter_zstd(in);
    archive_read_support_format_tar(in);
    archive_read_set_options(in, "hdrcharset=BINARY");
    EXPECT_EQ(archive_read_open_memory(in, bytes.data(), bytes.size()), ARCHIVE_OK);
    archive_entry* entry = nullptr;
    while (archive_read_next_header(in, &entry) == ARCHIVE_OK) {
      Member member;
      member.mode = archive_entry_mode(entry);
      member.size = archive_entry_size(entry);
      member.uid = archive_entry_uid(entry);
      member.mtime = archive_entry_mtime(entry);
      member.nanos = archive_entry_mtime_nsec(entry);
      member.sparse = archive_entry_sparse_count(entry);
      if (const char* link = archive_entry_hardlink(entry)) member.hard_link = link;
      if (const char* link = archive_entry_symlink(entry)) member.symlink = link;
      archive_entry_xattr_reset(entry);
      const char* name = nullptr;
      const void* value = nullptr;
      size_t size = 0;
      while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        member.xattrs[name] = std::string(static_cast<const char*>(value), size);
      }
      const void* data = nullptr;
      int64_t offset = 0;
      while (archive_read_data_block(in, &data, &size, &offset) == ARCHIVE_OK) {
        member.content.resize(static_cast<size_t>(offset));
        member.content.append(static_cast<const char*>(data), size);
      }
      member.content.resize(static_cast<size_t>(member.size));
      EXPECT_TRUE(members.emplace(archive_entry_pathname(entry), member).second);
    }
    EXPECT_EQ(archive_errno(in), 0) << archive_error_string(in);
    archive_read_free(in);
    return members;
  }
};

TEST_F(ArchiveSnapshot, HoldsEveryKindOfEntry) {
  Node file = File("f\xff\n", "content");
  file.permissions = 04751;
  file.uid = 3'000'000'000;
  file.mtime = {-5, 250'000'000};
  file.extra = std::make_unique<Node::Extra>();
  file.extra->xattrs = {{"user.bad=name", "x"}, {"user.key", std::string("v\0\n", 3)}};
  Node first = File("link1", "shared");
  first.links = 2;
  Node second = first.Clone();
  second.name = "link2";
  Node stranger = File("stranger", "of another file system");
  stranger.links = 2;
  stranger.inode = first.inode;
  Node device = Make("device", NodeType::kCharDevice);
  device.device = 0x103;
  auto snapshot =
      Snapshot(Dir("workspace", std::move(file), Dir("d", std::move(second), Dir("e")),
                   std::move(first), std::move(stranger), Link("sym", "../../etc/\xffpasswd"),
                   Make("fifo", NodeType::kFifo), Make("socket", NodeType::kSocket),
                   std::move(device), File("empty", std::vector<std::string>())));
  Flush();
  auto members = Read(Write(snapshot));
  std::vector<std::string> names;
  for (const auto& [name, member] : members) names.push_back(name);
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("./", "./d/", "./d/e/", "./d/link2", "./empty",
                                                     "./f\xff\n", "./fifo", "./link1", "./stranger",
                                                     "./sym"));
  const Member& f = members["./f\xff\n"];
  EXPECT_EQ(f.mode, S_IFREG | 04751U);
  EXPECT_EQ(f.uid, 3'000'000'000);
  EXPECT_EQ(f.mtime, -5);
  EXPECT_EQ(f.nanos, 250'000'000);
  EXPECT_EQ(f.content, "content");
  EXPECT_EQ(f.xattrs, (std::map<std::string, std::string>{{"user.key", std::string("v\0\n", 3)}}));
  EXPECT_EQ(members["./d/link2"].content, "shared");
  EXPECT_EQ(members["./link1"].hard_link, "./d/link2");
  EXPECT_EQ(members["./stranger"].content, "of another file system");
  EXPECT_EQ(members["./sym"].symlink, "../../etc/\xffpasswd");
  EXPECT_EQ(members["./fifo"].mode & S_IFMT, static_cast<mode_t>(S_IFIFO));
  EXPECT_EQ(members["./empty"].size, 0);
}

TEST_F(ArchiveSnapshot, LargeAndManyFilesComeInOrder) {
  std::vector<Node> nodes;
  std::map<std::string, std::string> contents;
  for (unsigned i = 0; i < 6000; ++i) {
    std::string name = "small" + std::to_string(i);
    contents[name] = RandomBytes(i % 300, i);
    nodes.push_back(contents[name].empty() ? File(name, std::vector<std::string>())
                                           : File(name, contents[name]));
  }
  std::vector<std::string> pieces;
  for (unsigned i = 0; i < 80; ++i) {
    pieces.push_back(RandomBytes(700'000, 10'000 + i));
    contents["large"] += pieces.back();
  }
  nodes.push_back(File("large", pieces));
  auto snapshot = Snapshot(DirOf("workspace", std::move(nodes)));
  Flush();
  auto members = Read(Write(snapshot));
  ASSERT_EQ(members.size(), contents.size() + 1);
  for (const auto& [name, content] : contents) {
    EXPECT_TRUE(members["./" + name].content == content) << name;
  }
}

TEST_F(ArchiveSnapshot, ZerosAreHoles) {
  std::string zeros(repository::kMinChunk, '\0');
  std::vector<std::string> pieces = {zeros, zeros, "data", zeros, "end"};
  Node huge = File("huge", std::vector<std::string>{zeros});
  huge.content.assign(20'000, huge.content[0]);
  auto snapshot = Snapshot(Dir("workspace", File("sparse", pieces),
                               File("zeros", std::vector<std::string>{zeros}), std::move(huge)));
  Flush();
  std::string bytes = Write(snapshot);
  EXPECT_LT(bytes.size(), 100'000U);
  // Its content would be too much to look at: of it, the header.
  archive* in = archive_read_new();
  archive_read_support_filter_zstd(in);
  archive_read_support_format_tar(in);
  ASSERT_EQ(archive_read_open_memory(in, bytes.data(), bytes.size()), ARCHIVE_OK);
  archive_entry* entry = nullptr;
  std::map<std::string, int64_t> sizes;
  while (archive_read_next_header(in, &entry) == ARCHIVE_OK) {
    std::string name = archive_entry_pathname(entry);
    sizes[name] = archive_entry_size(entry);
    if (name != "./sparse") continue;
    std::string content(static_cast<size_t>(archive_entry_size(entry)), 'x');
    EXPECT_EQ(archive_read_data(in, content.data(), content.size()),
              static_cast<la_ssize_t>(content.size()));
    EXPECT_TRUE(content == zeros + zeros + "data" + zeros + "end");
  }
  archive_read_free(in);
  EXPECT_EQ(sizes["./huge"], int64_t{20'000} * (512 << 10));
  EXPECT_EQ(sizes["./zeros"], 512 << 10);
  EXPECT_EQ(sizes["./sparse"], 3 * (512 << 10) + 7);
}

TEST_F(ArchiveSnapshot, FailsWithItsReceiverAndWithItsContent) {
  auto snapshot = Snapshot(Dir("workspace", File("f", RandomBytes(1'000'000, 1))));
  Flush();
  int calls = 0;
  auto written = WriteArchive(*repository_, snapshot, [&](std::string_view) -> Result<void> {
    ++calls;
    return Fail(Code::kUnavailable, "the receiver is gone");
  });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().message, "the receiver is gone");
  EXPECT_EQ(calls, 1);
  LosePacks();
  auto broken =
      WriteArchive(*repository_, snapshot, [](std::string_view) -> Result<void> { return {}; });
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().reason, "REPOSITORY_CORRUPT");
}

}  // namespace
}  // namespace atl::snapshot
