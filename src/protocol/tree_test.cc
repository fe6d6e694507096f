// SPDX-License-Identifier: Apache-2.0
#include "protocol/tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace atl::protocol {
namespace {

EntryMeta Meta(uint32_t mode) {
  return {.mode = mode,
          .uid = 1000,
          .gid = 0xffffffff,
          .mtime = {.seconds = static_cast<uint64_t>(-5), .nanos = 999'999'999},
          .xattrs = {{"security.capability", std::string("\0\1", 2)}, {"user.a", ""}}};
}

TreeEntry File(std::string name) {
  return {.name = std::move(name),
          .meta = Meta(S_IFREG | 0640),
          .ctime = {.seconds = 7, .nanos = 8},
          .size = 1ULL << 60U,
          .inode = 9,
          .links = 2};
}

template <class R>
std::string Bytes(const R& record) {
  RecordWriter writer;
  writer.Add(record);
  return std::string(writer.payload());
}

template <class R>
void ExpectRoundTrip(const R& record) {
  std::string bytes = Bytes(record);
  // Two in a row: the first must leave the second whole.
  std::string twice = bytes + bytes;
  RecordReader reader(twice);
  for (int i = 0; i < 2; ++i) {
    auto read = reader.Next();
    ASSERT_TRUE(read.has_value()) << read.error().message;
    ASSERT_TRUE(read->has_value());
    ASSERT_TRUE(std::holds_alternative<R>(**read));
    EXPECT_EQ(std::get<R>(**read), record);
  }
  auto end = reader.Next();
  ASSERT_TRUE(end.has_value());
  EXPECT_FALSE(end->has_value());
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_FALSE(RecordReader(std::string_view(bytes).substr(0, size)).Next().has_value()) << size;
  }
}

template <class R>
void ExpectRefused(const R& record) {
  std::string bytes = Bytes(record);
  auto read = RecordReader(bytes).Next();
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, Code::kInvalidArgument);
  EXPECT_EQ(read.error().reason, "INVALID_FRAME");
}

TEST(TreeTest, EveryRecordSurvivesTheWire) {
  ExpectRoundTrip(File("not UTF-8: \xff\xfe"));
  ExpectRoundTrip(TreeEntry{.name = "", .meta = Meta(S_IFDIR | 0755)});
  ExpectRoundTrip(TreeEntry{.name = "l", .meta = Meta(S_IFLNK | 0777), .link_target = "../../x"});
  ExpectRoundTrip(TreeEntry{.name = "null", .meta = Meta(S_IFCHR | 0666), .device = 259});
  ExpectRoundTrip(LeaveDir{});
  ExpectRoundTrip(SkippedEntry{.name = "gone", .sys_errno = 2});
  ExpectRoundTrip(WantFile{.tag = 0xffffffff, .path = "a/b/c"});
  ExpectRoundTrip(FileBegin{.tag = 3, .entry = File("")});
  ExpectRoundTrip(FileHole{.length = 10ULL << 30U});
  ExpectRoundTrip(FileEnd{.tag = 3, .sys_errno = 5, .changed = true});
  ExpectRoundTrip(StageDir{.path = "d"});
  ExpectRoundTrip(StageFile{.tag = 1, .path = "d/f", .size = 5, .meta = Meta(S_IFREG | 0600)});
  ExpectRoundTrip(StageEnd{.tag = 1});
  ExpectRoundTrip(StageSpecial{.path = "l", .link_target = "/x", .meta = Meta(S_IFLNK | 0777)});
  ExpectRoundTrip(StageSpecial{.path = "l", .hard_link_to = "d/f"});
  ExpectRoundTrip(StageMeta{.path = "d", .meta = Meta(S_IFDIR | 0700)});
  ExpectRoundTrip(Change{.kind = ChangeKind::kPut, .path = "a", .staged = "0/1"});
  ExpectRoundTrip(Change{.kind = ChangeKind::kRemove, .path = "a/b"});
  ExpectRoundTrip(Change{.kind = ChangeKind::kMeta, .path = "", .meta = Meta(S_IFDIR | 0755)});
}

TEST(TreeTest, BytesAreViewsIntoTheFrame) {
  RecordWriter writer;
  writer.Add(FileBegin{.tag = 5, .entry = File("")});
  writer.AddBytes(5, 1ULL << 40U, "content");
  writer.Add(FileEnd{.tag = 5});
  std::string_view payload = writer.payload();
  RecordReader reader(payload);
  ASSERT_TRUE(reader.Next().has_value());
  auto read = reader.Next();
  ASSERT_TRUE(read.has_value() && read->has_value());
  auto bytes = std::get<FileBytes>(**read);
  EXPECT_EQ(bytes.tag, 5U);
  EXPECT_EQ(bytes.offset, 1ULL << 40U);
  EXPECT_EQ(bytes.bytes, "content");
  EXPECT_GE(bytes.bytes.data(), payload.data());
  EXPECT_LT(bytes.bytes.data(), payload.data() + payload.size());
  auto end = reader.Next();
  ASSERT_TRUE(end.has_value() && end->has_value());
  EXPECT_TRUE(std::holds_alternative<FileEnd>(**end));
}

TEST(TreeTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string& name :
       {std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("a\0b", 3), std::string(256, 'x')}) {
    EXPECT_FALSE(IsEntryName(name));
    ExpectRefused(File(name));
    ExpectRefused(SkippedEntry{.name = name});
    ExpectRefused(FileBegin{.entry = File(name)});
  }
  EXPECT_TRUE(IsEntryName(std::string(255, 'x')));
  EXPECT_TRUE(IsEntryName("..."));
  ExpectRefused(SkippedEntry{.name = ""});
}

TEST(TreeTest, PathsThatLeadElsewhereAreRefused) {
  for (const std::string& path :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("./a"), std::string("a/."), std::string("../a"), std::string("a/../b"),
        std::string("a/.."), std::string("a\0b", 3), "a/" + std::string(256, 'x')}) {
    EXPECT_FALSE(IsTreePath(path)) << path;
    ExpectRefused(WantFile{.path = path});
    ExpectRefused(StageDir{.path = path});
    ExpectRefused(StageFile{.path = path});
    ExpectRefused(StageSpecial{.path = path, .link_target = "x"});
    ExpectRefused(StageMeta{.path = path});
    ExpectRefused(Change{.kind = ChangeKind::kPut, .path = path, .staged = "s"});
    ExpectRefused(Change{.kind = ChangeKind::kPut, .path = "p", .staged = path});
    ExpectRefused(Change{.kind = ChangeKind::kRemove, .path = path});
  }
  std::string longest;
  for (int i = 0; i < 2048; ++i) longest += "a/";
  longest.pop_back();
  EXPECT_TRUE(IsTreePath(longest + "b"));
  EXPECT_FALSE(IsTreePath(longest + "bb"));
  EXPECT_TRUE(IsTreePath("a/.../b"));
  ExpectRefused(StageSpecial{.path = "l", .hard_link_to = "../../etc/passwd"});
}

TEST(TreeTest, WhatNoFileSystemGivesIsRefused) {
  TreeEntry entry = File("a");
  entry.meta.mode = 0644;
  ExpectRefused(entry);
  entry = File("a");
  entry.meta.mode |= 1U << 16U;
  ExpectRefused(entry);
  entry = File("a");
  entry.meta.mtime.nanos = 1'000'000'000;
  ExpectRefused(entry);
  entry = File("a");
  entry.ctime.nanos = 1'000'000'000;
  ExpectRefused(entry);
  entry = File("a");
  entry.link_target = "elsewhere";
  ExpectRefused(entry);
  entry.meta.mode = S_IFLNK | 0777;
  entry.link_target = std::string("a\0b", 3);
  ExpectRefused(entry);
  entry.link_target = std::string(4096, 'x');
  ExpectRefused(entry);
  entry.link_target = "";
  ExpectRefused(entry);
  entry = File("a");
  entry.meta.xattrs = {{"user.a", std::string((64U << 10U) + 1, 'x')}};
  ExpectRefused(entry);
  entry.meta.xattrs = {{"", "x"}};
  ExpectRefused(entry);
  ExpectRefused(Change{.kind = ChangeKind::kRemove, .path = "a", .staged = "s"});
}

TEST(TreeTest, HostileSizesAllocateNothing) {
  // A list of xattrs that claims four billion items, bytes that claim more than there are.
  std::string entry = Bytes(File("a"));
  entry.replace(1 + 5 + 12 + 12, 4, "\xff\xff\xff\xff");
  EXPECT_FALSE(RecordReader(entry).Next().has_value());
  RecordWriter writer;
  writer.AddBytes(1, 0, "1234");
  std::string bytes(writer.payload());
  EXPECT_FALSE(RecordReader(std::string_view(bytes).substr(0, bytes.size() - 1)).Next());
  EXPECT_FALSE(RecordReader("\x63").Next());
  // After an error there is nothing more.
  RecordReader broken("\x63\x02");
  EXPECT_FALSE(broken.Next().has_value());
  auto rest = broken.Next();
  ASSERT_TRUE(rest.has_value());
  EXPECT_FALSE(rest->has_value());
}

}  // namespace
}  // namespace atl::protocol
