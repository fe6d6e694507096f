// SPDX-License-Identifier: Apache-2.0
#include "agent/kept_watch.h"

#include <gtest/gtest.h>

#include <vector>

namespace atl::agent {
namespace {

using protocol::FileEvent;
using protocol::FileEventKind;

protocol::KeepWatch Request(uint64_t after = 0) {
  return {.id = "0123456789abcdef", .after = after, .what = {.path = "/w"}};
}

FileEvent Made(uint64_t number) { return {.path = std::to_string(number)}; }

struct Told {
  uint64_t first = 0;
  std::vector<FileEvent> events;
};

Told Take(KeptWatch& watch, uint64_t viewer) {
  Told told;
  KeptWatch::Piece piece = watch.Take(viewer);
  if (piece.events.empty()) return told;
  protocol::Reader reader(piece.events);
  told.first = reader.U64();
  while (reader.ok() && !reader.rest().empty()) reader(told.events.emplace_back());
  EXPECT_TRUE(reader.Finish());
  return told;
}

uint64_t Join(KeptWatch& watch, uint64_t after = 0) {
  uint64_t viewer = 0;
  EXPECT_TRUE(watch.Join(Request(after), &viewer));
  EXPECT_TRUE(watch.Take(viewer).watching);
  return viewer;
}

TEST(KeptWatchTest, GoesOnBehindAnyEvent) {
  KeptWatch watch(Request());
  watch.Begun({});
  for (uint64_t i = 1; i <= 5; ++i) watch.Add(Made(i));
  Told all = Take(watch, Join(watch));
  EXPECT_EQ(all.first, 1U);
  EXPECT_EQ(all.events.size(), 5U);
  uint64_t late = Join(watch, 3);
  Told rest = Take(watch, late);
  EXPECT_EQ(rest.first, 4U);
  ASSERT_EQ(rest.events.size(), 2U);
  EXPECT_EQ(rest.events[0].path, "4");
  EXPECT_TRUE(Take(watch, late).events.empty());
  watch.Add(Made(6));
  EXPECT_EQ(Take(watch, late).first, 6U);
}

TEST(KeptWatchTest, KnowsNothingOfOthers) {
  KeptWatch watch(Request());
  watch.Add(Made(1));
  uint64_t viewer = 0;
  EXPECT_FALSE(watch.Join(Request(2), &viewer));
  EXPECT_FALSE(watch.Join(Request(~0ULL), &viewer));
  protocol::KeepWatch other = Request();
  other.what.user = "somebody";
  EXPECT_FALSE(watch.Join(other, &viewer));
  watch.GiveUp();
  EXPECT_FALSE(watch.Join(Request(), &viewer));
}

TEST(KeptWatchTest, ForgetsTheOldestWithoutClientsAndSaysSo) {
  KeptWatch watch(Request());
  watch.Begun({});
  uint64_t count = KeptWatch::kMaxEvents + 10;
  for (uint64_t i = 1; i <= count; ++i) watch.Add(Made(i));
  EXPECT_FALSE(watch.IsFull());
  uint64_t viewer = Join(watch, 1);
  Told told = Take(watch, viewer);
  EXPECT_EQ(told.first, 10U);
  ASSERT_GT(told.events.size(), 2U);
  EXPECT_EQ(told.events[0].kind, FileEventKind::kOverflow);
  EXPECT_EQ(told.events[1].path, "11");
  uint64_t next = told.first + told.events.size();
  while (next <= count) {
    Told more = Take(watch, viewer);
    ASSERT_EQ(more.first, next);
    ASSERT_EQ(more.events[0].path, std::to_string(next));
    next += more.events.size();
  }
  EXPECT_EQ(next, count + 1);
  // Nothing was left out behind the gap.
  EXPECT_NE(Take(watch, Join(watch, 10)).events.at(0).kind, FileEventKind::kOverflow);
}

TEST(KeptWatchTest, KeepsWhatAClientHasNotTaken) {
  KeptWatch watch(Request());
  watch.Begun({});
  uint64_t viewer = Join(watch);
  std::string name(4000, 'n');
  for (size_t bytes = 0; bytes <= KeptWatch::kMaxBytes; bytes += name.size()) {
    watch.Add({.path = name});
  }
  EXPECT_TRUE(watch.IsFull());
  EXPECT_EQ(Take(watch, viewer).first, 1U);
  EXPECT_TRUE(!watch.IsFull() || !Take(watch, viewer).events.empty());
  EXPECT_FALSE(watch.LeftAt());
  watch.Leave(viewer);
  EXPECT_FALSE(watch.IsFull());
  EXPECT_TRUE(watch.LeftAt());
}

TEST(KeptWatchTest, TellsTheEndBehindEverythingElse) {
  KeptWatch watch(Request());
  watch.Begun({});
  watch.Add(Made(1));
  watch.End(std::nullopt);
  watch.End(Error{.message = "later"});
  uint64_t viewer = Join(watch);
  EXPECT_EQ(Take(watch, viewer).events.size(), 1U);
  KeptWatch::Piece piece = watch.Take(viewer);
  EXPECT_TRUE(piece.over);
  EXPECT_FALSE(piece.failure);
}

}  // namespace
}  // namespace atl::agent
