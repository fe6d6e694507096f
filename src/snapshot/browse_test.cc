// SPDX-License-Identifier: Apache-2.0
#include "snapshot/browse.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/browse_fixture_test.h"

namespace atl::snapshot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> NamesOf(const Listing& listing) {
  std::vector<std::string> names;
  for (const auto& node : listing.nodes) names.push_back(node.name);
  return names;
}

class BrowseSnapshot : public BrowseTest {
 protected:
  std::string Read(const repository::SnapshotRecord& snapshot, std::string_view path,
                   uint64_t offset = 0, uint64_t length = UINT64_MAX) {
    std::string content;
    auto read = ReadFile(*repository_, snapshot, path, offset, length,
                         [&](std::string_view piece) -> Result<void> {
                           content += piece;
                           return {};
                         });
    if (!read) return std::string(ReasonOf(read.error()));
    return content;
  }
  std::string ReasonAt(const repository::SnapshotRecord& snapshot, std::string_view path) {
    auto node = FindNode(*repository_, snapshot, path);
    return node ? "found" : std::string(ReasonOf(node.error()));
  }
};

TEST_F(BrowseSnapshot, FindsAndLists) {
  auto snapshot = Snapshot(Dir("workspace", File("a", "1"), File("b\xff\n", "22"),
                               Dir("sub", File("x", "333"), Dir("empty")), Link("l", "/etc")));
  Flush();
  auto all = List(*repository_, snapshot, "", "", 100);
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_THAT(NamesOf(*all), ElementsAre("a", "b\xff\n", "l", "sub"));
  EXPECT_EQ(all->node.name, "workspace");
  EXPECT_EQ(all->next, "");
  auto page = List(*repository_, snapshot, "/", "a", 2).value();
  EXPECT_THAT(NamesOf(page), ElementsAre("b\xff\n", "l"));
  EXPECT_EQ(page.next, "l");
  page = List(*repository_, snapshot, "./", page.next, 2).value();
  EXPECT_THAT(NamesOf(page), ElementsAre("sub"));
  EXPECT_EQ(page.next, "");
  EXPECT_THAT(NamesOf(List(*repository_, snapshot, "sub//empty/", "", 9).value()), IsEmpty());
  EXPECT_EQ(FindNode(*repository_, snapshot, "sub/x")->size, 3U);
  EXPECT_EQ(List(*repository_, snapshot, "a", "", 9)->node.size, 1U);
}

TEST_F(BrowseSnapshot, FollowsNothingOutOfTheSnapshot) {
  auto snapshot = Snapshot(Dir("workspace", Link("l", "/etc"), File("f", "1"), Dir("d")));
  Flush();
  for (std::string_view path : {"..", "d/..", "l/passwd", "f/x", "nothing", "d/nothing"}) {
    EXPECT_EQ(ReasonAt(snapshot, path), "PATH_NOT_FOUND") << path;
  }
  EXPECT_EQ(ReasonAt(snapshot, std::string(1 << 20, 'x')), "PATH_NOT_FOUND");
  EXPECT_EQ(Read(snapshot, "l"), "NOT_A_FILE");
  EXPECT_EQ(Read(snapshot, "d"), "NOT_A_FILE");
  EXPECT_EQ(Read(snapshot, "no"), "PATH_NOT_FOUND");
}

TEST_F(BrowseSnapshot, ReadsAnyRangeOfAFile) {
  std::vector<std::string> pieces;
  std::string whole;
  for (unsigned i = 0; i < 40; ++i) {
    pieces.push_back(RandomBytes(1000 + i * 30'000, i / 2));  // half of them twice in a row
    if (i % 2 == 1) pieces.back() = pieces[i - 1];
    whole += pieces.back();
  }
  auto snapshot =
      Snapshot(Dir("workspace", File("big", pieces), File("none", std::vector<std::string>())));
  Flush();
  EXPECT_TRUE(Read(snapshot, "big") == whole);
  EXPECT_EQ(Read(snapshot, "none"), "");
  for (uint64_t offset :
       {0UL, 1UL, 999UL, 1000UL, 1'234'567UL, whole.size() - 1, whole.size(), whole.size() + 5}) {
    for (uint64_t length : {0UL, 1UL, 70'000UL, 5'000'000UL}) {
      std::string expected = offset < whole.size() ? whole.substr(offset, length) : "";
      EXPECT_TRUE(Read(snapshot, "big", offset, length) == expected) << offset << " " << length;
    }
  }
}

TEST_F(BrowseSnapshot, StopsWhenTheReceiverDoes) {
  auto snapshot = Snapshot(Dir("workspace", File("f", "abc")));
  Flush();
  auto read = ReadFile(*repository_, snapshot, "f", 0, 3, [](std::string_view) -> Result<void> {
    return Fail(Code::kCancelled, "gone");
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kCancelled);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(ReadFile(
      *repository_, snapshot, "f", 0, 3, [](std::string_view) -> Result<void> { return {}; },
      stop.get_token()));
}

TEST_F(BrowseSnapshot, SaysWhenContentIsGone) {
  auto snapshot = Snapshot(Dir("workspace", File("f", "abc")));
  Flush();
  ASSERT_EQ(ReasonAt(snapshot, "f"), "found");  // its trees are in memory now
  LosePacks();
  EXPECT_EQ(Read(snapshot, "f"), "REPOSITORY_CORRUPT");
}

TEST_F(BrowseSnapshot, AHugeDirectoryIsListedByPages) {
  std::vector<Node> nodes;
  for (int i = 0; i < 20'000; ++i) {
    nodes.push_back(Make(fmt::format("file-{:06}", i), NodeType::kFile));
  }
  auto snapshot = Snapshot(DirOf("workspace", std::move(nodes)));
  Flush();
  auto page = List(*repository_, snapshot, "", "file-012344", 3);
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_THAT(NamesOf(*page), ElementsAre("file-012345", "file-012346", "file-012347"));
  EXPECT_EQ(page->next, "file-012347");
  EXPECT_EQ(ReasonAt(snapshot, "file-019999"), "found");
  EXPECT_EQ(ReasonAt(snapshot, "file-020000"), "PATH_NOT_FOUND");
}

// What restic wrote has no tags; with a relative path the tree does not hold all of it.
TEST_F(BrowseSnapshot, FindsTheDirectoryOfResticsSnapshots) {
  Node dir = Dir("project", File("f", "abc"));
  Node project = dir.Clone();
  auto snapshot = Snapshot(Dir("home", std::move(dir)));
  snapshot.tags.clear();
  snapshot.paths = {"/home/project"};
  auto relative = snapshot;
  relative.tree = Dir("", project.Clone()).subtree;
  auto inside = snapshot;
  inside.tree = project.subtree;
  Flush();
  EXPECT_EQ(Read(snapshot, "f"), "abc");
  EXPECT_EQ(Read(relative, "f"), "abc");
  EXPECT_EQ(Read(inside, "f"), "abc");
  snapshot.paths.push_back("/other");
  EXPECT_EQ(Read(snapshot, "f"), "SNAPSHOT_OF_SEVERAL_PATHS");
}

}  // namespace
}  // namespace atl::snapshot
