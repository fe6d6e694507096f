// SPDX-License-Identifier: Apache-2.0
#include "snapshot/latest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::SnapshotRecord;

Id IdOf(uint8_t number) {
  std::string hex(64, '0');
  hex[63] = static_cast<char>('0' + number);
  return repository::ParseId(hex).value();
}

SnapshotRecord Taken(uint8_t number, int64_t seconds, std::optional<uint8_t> parent = {}) {
  SnapshotRecord record;
  record.file = IdOf(number);
  record.time = {.seconds = seconds};
  if (parent) record.parent = IdOf(*parent);
  return record;
}

Id LatestOf(const std::vector<SnapshotRecord>& records) {
  std::vector<const SnapshotRecord*> sorted;
  for (const SnapshotRecord& record : records) sorted.push_back(&record);
  std::ranges::sort(sorted, {}, [](const SnapshotRecord* record) { return record->time; });
  return Latest(sorted)->file;
}

TEST(LatestTest, TimesDecide) {
  EXPECT_EQ(Latest({}), nullptr);
  EXPECT_EQ(LatestOf({Taken(1, 10)}), IdOf(1));
  EXPECT_EQ(LatestOf({Taken(1, 10), Taken(2, 20, 1), Taken(3, 30, 1)}), IdOf(3));
}

TEST(LatestTest, WhatWasTakenWithAClockAheadIsNotTheLastForEver) {
  EXPECT_EQ(LatestOf({Taken(1, 10), Taken(2, 1000, 1), Taken(3, 20, 2)}), IdOf(3));
  EXPECT_EQ(LatestOf({Taken(1, 10), Taken(2, 1000, 1), Taken(3, 20, 2), Taken(4, 30, 3)}), IdOf(4));
  // Nothing was taken since.
  EXPECT_EQ(LatestOf({Taken(1, 10), Taken(2, 1000, 1)}), IdOf(2));
}

TEST(LatestTest, AnEditionIsStillThatSnapshot) {
  SnapshotRecord edited = Taken(5, 1000, 1);
  edited.original = IdOf(2);
  EXPECT_EQ(LatestOf({Taken(1, 10), edited, Taken(3, 20, 2)}), IdOf(3));
}

TEST(LatestTest, ACircleEnds) {
  LatestOf({Taken(1, 10, 2), Taken(2, 20, 1)});
  EXPECT_EQ(LatestOf({Taken(1, 10, 1)}), IdOf(1));
}

}  // namespace
}  // namespace atl::snapshot
