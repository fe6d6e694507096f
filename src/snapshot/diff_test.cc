// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/browse_fixture_test.h"

namespace atl::snapshot {
namespace {

using ::testing::ElementsAre;

class DiffSnapshots : public BrowseTest {
 protected:
  Diff Between(const repository::SnapshotRecord& a, const repository::SnapshotRecord& b,
               size_t limit = 1000) {
    auto diff = Compare(*repository_, a, b, limit);
    EXPECT_TRUE(diff) << diff.error().message;
    return diff ? *std::move(diff) : Diff();
  }
  static std::vector<std::string> Lines(const Diff& diff) {
    std::vector<std::string> lines;
    for (const auto& entry : diff.entries) {
      lines.push_back("+c-m"[static_cast<int>(entry.kind)] + entry.path);
    }
    return lines;
  }
};

TEST_F(DiffSnapshots, NamesWhatDiffers) {
  Node moved = File("moved", std::string(5000, 'm'));
  Node same = File("same", "s");
  Node touched = File("touched", "t");
  Node other_mode = touched.Clone();
  other_mode.permissions = 0600;
  Node reread = same.Clone();
  reread.inode = 1;
  reread.ctime = {5, 5};
  auto a = Snapshot(Dir("workspace", File("changed", "old"), Dir("gone", File("x", "gone-x")),
                        moved.Clone(), std::move(same), Dir("sub", File("y", "y1"), File("z", "z")),
                        std::move(touched), File("type", "file"), Link("link", "a")));
  auto b =
      Snapshot(Dir("workspace", File("changed", "newer"), Dir("fresh", File("n", "n")),
                   std::move(reread), Dir("sub", File("y", "y22"), File("z", "z"), moved.Clone()),
                   std::move(other_mode), Dir("type"), Link("link", "b")));
  Flush();
  Diff diff = Between(a, b);
  EXPECT_THAT(Lines(diff),
              ElementsAre("cchanged", "+fresh", "+fresh/n", "-gone", "-gone/x", "clink", "-moved",
                          "+sub/moved", "csub/y", "mtouched", "-type", "+type"));
  EXPECT_EQ(diff.added, 4U);
  EXPECT_EQ(diff.removed, 4U);
  EXPECT_EQ(diff.changed, 3U);
  EXPECT_EQ(diff.metadata, 1U);
  EXPECT_FALSE(diff.truncated);
  // "newer", "n", "y22"; what was moved is no new content.
  EXPECT_EQ(diff.bytes_added, 5U + 1U + 3U);
  // "old", "gone-x", "y1", "file"
  EXPECT_EQ(diff.bytes_removed, 3U + 6U + 2U + 4U);
  EXPECT_EQ(diff.entries[0].old_size, 3U);
  EXPECT_EQ(diff.entries[0].new_size, 5U);
  EXPECT_EQ(diff.entries[11].type, NodeType::kDirectory);

  Diff back = Between(b, a, 2);
  EXPECT_TRUE(back.truncated);
  EXPECT_EQ(back.entries.size(), 2U);
  EXPECT_EQ(back.added, 4U);
  EXPECT_EQ(back.bytes_added, diff.bytes_removed);
}

TEST_F(DiffSnapshots, EqualTreesAreNotLookedInto) {
  Node lost = Make("lost", NodeType::kDirectory, 0755);
  lost.subtree = repository::Hash("there is no such tree");
  Node again = lost.Clone();
  auto a = Snapshot(Dir("workspace", std::move(lost), File("f", "1")));
  auto b = Snapshot(Dir("workspace", std::move(again), File("f", "2")));
  Flush();
  EXPECT_THAT(Lines(Between(a, b)), ElementsAre("cf"));
  EXPECT_THAT(Lines(Between(a, a)), ElementsAre());
}

TEST_F(DiffSnapshots, LargeDirectoriesAreMerged) {
  std::vector<Node> first;
  std::vector<Node> second;
  for (int i = 0; i < 30'000; ++i) {
    Node node = Make("file-" + std::to_string(1'000'000 + i), NodeType::kFile);
    if (i % 10'000 != 0) second.push_back(node.Clone());
    if (i % 10'000 != 1) first.push_back(std::move(node));
  }
  auto a = Snapshot(DirOf("workspace", std::move(first)));
  auto b = Snapshot(DirOf("workspace", std::move(second)));
  Flush();
  EXPECT_THAT(Lines(Between(a, b)), ElementsAre("-file-1000000", "+file-1000001", "-file-1010000",
                                                "+file-1010001", "-file-1020000", "+file-1020001"));
}

TEST_F(DiffSnapshots, ALoopOfNothingButDepthIsRefused) {
  Node dir = Dir("deepest", File("f", "1"));
  for (int i = 0; i < 600; ++i) dir = Dir("d", std::move(dir));
  dir.name = "workspace";
  auto a = Snapshot(Dir("workspace"));
  auto b = Snapshot(std::move(dir));
  Flush();
  auto diff = Compare(*repository_, a, b, 10);
  ASSERT_FALSE(diff);
  EXPECT_EQ(diff.error().reason, "REPOSITORY_CORRUPT");
}

}  // namespace
}  // namespace atl::snapshot
