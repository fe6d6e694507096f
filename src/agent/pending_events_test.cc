// SPDX-License-Identifier: Apache-2.0
#include "agent/pending_events.h"

#include <gtest/gtest.h>

namespace atl::agent {
namespace {

using protocol::FileEvent;
using protocol::FileEventKind;
using enum protocol::FileEventKind;

std::vector<FileEventKind> Kinds(const std::vector<FileEventKind>& added) {
  PendingEvents pending;
  for (FileEventKind kind : added) pending.Add({.kind = kind, .path = "f"});
  size_t size = pending.size();
  std::vector<FileEventKind> kinds;
  for (const FileEvent& event : pending.Take()) kinds.push_back(event.kind);
  EXPECT_EQ(kinds.size(), size);
  EXPECT_TRUE(pending.empty());
  return kinds;
}

using List = std::vector<FileEventKind>;

TEST(PendingEventsTest, LeavesOutWhatSaysNothingNew) {
  EXPECT_EQ(Kinds({kCreate, kModify, kModify, kAttrib}), List({kCreate}));
  EXPECT_EQ(Kinds({kModify, kModify}), List({kModify}));
  EXPECT_EQ(Kinds({kCreate, kModify, kDelete}), List({}));
  EXPECT_EQ(Kinds({kCreate, kDelete, kCreate}), List({kCreate}));
  EXPECT_EQ(Kinds({kModify, kDelete}), List({kModify, kDelete}));
  EXPECT_EQ(Kinds({kDelete, kCreate}), List({kDelete, kCreate}));
  EXPECT_EQ(Kinds({kMoveTo, kModify}), List({kMoveTo, kModify}));
  EXPECT_EQ(Kinds({kMoveFrom, kMoveTo}), List({kMoveFrom, kMoveTo}));
}

TEST(PendingEventsTest, KeepsTheOrderOfDifferentPaths) {
  PendingEvents pending;
  for (const char* path : {"a", "b", "a", "c"}) pending.Add({.kind = kModify, .path = path});
  std::string paths;
  for (const FileEvent& event : pending.Take()) paths += event.path;
  EXPECT_EQ(paths, "abc");
}

TEST(PendingEventsTest, KeepsNothingOfWhatIsMadeAndRemoved) {
  PendingEvents pending;
  std::string path(4000, 'x');
  for (int i = 0; i < 100'000; ++i) {
    pending.Add({.kind = kCreate, .path = path});
    pending.Add({.kind = kDelete, .path = path});
  }
  EXPECT_TRUE(pending.empty());
  pending.Add({.kind = kModify, .path = "f"});
  EXPECT_EQ(pending.Take().size(), 1U);
}

TEST(PendingEventsTest, SaysThatWhatIsTooMuchIsLost) {
  PendingEvents pending;
  for (int i = 0; i < 10'000; ++i) {
    pending.Add({.kind = kCreate, .path = std::to_string(i) + std::string(4000, 'x')});
  }
  std::vector<FileEvent> events = pending.Take();
  EXPECT_LT(events.size(), 3'000U);
  EXPECT_EQ(events.back(), FileEvent{.kind = kOverflow});
  pending.Add({.kind = kModify, .path = "f"});
  EXPECT_EQ(pending.Take().size(), 1U);
}

}  // namespace
}  // namespace atl::agent
