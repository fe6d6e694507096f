// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <set>

#include "snapshot/maintenance_fixture_test.h"

namespace atl::snapshot {
namespace {

using repository::Tags;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kNow = 1'700'000'000;
constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 24 * kHour;

SnapshotRecord Taken(int64_t seconds, Tags tags = {}) {
  static int number = 0;
  SnapshotRecord record;
  record.file = repository::Hash(std::to_string(++number));
  record.time = {.seconds = seconds};
  if (tags.sandbox.empty()) tags.sandbox = "demo";
  if (tags.dir.empty()) tags.dir = "/workspace";
  record.tags = EncodeTags(tags);
  return record;
}
SnapshotRecord Expired(int64_t seconds) { return Taken(seconds, {.expires_at = kNow - 1}); }

std::vector<int64_t> Times(const std::vector<SnapshotRecord>& records) {
  std::vector<int64_t> times;
  for (const SnapshotRecord& record : records) times.push_back(record.time.seconds);
  return times;
}
bool Nobody(std::string_view) { return false; }
bool All(std::string_view) { return true; }

TEST(Forgettable, WithoutRulesWhatHasExpiredGoes) {
  const std::vector<SnapshotRecord> snapshots = {
      Expired(kNow - 5), Taken(kNow - 4), Taken(kNow - 3, {.expires_at = kNow + 1}),
      Taken(kNow - 2, {.expires_at = kNow}), Taken(kNow - 1)};
  EXPECT_THAT(Times(Forgettable(snapshots, {}, kNow, Nobody)), ElementsAre(kNow - 5, kNow - 2));
}

TEST(Forgettable, PinnedAndForeignOnesStay) {
  SnapshotRecord foreign = Expired(kNow - 2);
  foreign.tags = {"expires=1", "nightly"};
  EXPECT_THAT(
      Forgettable({Taken(kNow - 3, {.expires_at = 1, .pinned = true}), foreign}, {}, kNow, Nobody),
      IsEmpty());
}

TEST(Forgettable, NewestStaysWhileItsSandboxIsThere) {
  const std::vector<SnapshotRecord> snapshots = {
      Expired(kNow - 9), Expired(kNow - 8), Taken(kNow - 7, {.sandbox = "gone", .expires_at = 1}),
      Taken(kNow - 6, {.dir = "/root", .expires_at = 1})};
  const auto needed = [](std::string_view sandbox) { return sandbox == "demo"; };
  EXPECT_THAT(Times(Forgettable(snapshots, {}, kNow, needed)), ElementsAre(kNow - 9, kNow - 7));
}

TEST(Forgettable, RulesKeepTheNewestOfEachSpan) {
  std::vector<SnapshotRecord> snapshots;
  for (int64_t i = 0; i < 100; ++i) snapshots.push_back(Expired(kNow - (i * 8 * kHour)));
  std::set<int64_t> kept;
  for (const auto& record : snapshots) kept.insert(record.time.seconds);
  for (const int64_t time : Times(Forgettable(snapshots, {.last = 2, .daily = 3}, kNow, Nobody))) {
    kept.erase(time);
  }
  // 22:13 UTC: two of today, then the last of each of the two days before.
  EXPECT_THAT(kept, ElementsAre(kNow - 2 * kDay, kNow - kDay, kNow - 8 * kHour, kNow));
}

TEST(Forgettable, WhatNoRuleKeepsStaysUntilItExpires) {
  const std::vector<SnapshotRecord> snapshots = {Taken(kNow - 4, {.expires_at = kNow + 9}),
                                                 Taken(kNow - 3), Expired(kNow - 2),
                                                 Expired(kNow - 1)};
  EXPECT_THAT(Times(Forgettable(snapshots, {.last = 1}, kNow, Nobody)), ElementsAre(kNow - 2));
}

TEST(Forgettable, OfEditionsTheLatestCounts) {
  SnapshotRecord first = Taken(kNow - 5, {.expires_at = 1});
  SnapshotRecord edition = first;
  edition.file = repository::Hash("edition");
  edition.original = first.file;
  edition.tags = EncodeTags(Tags{.sandbox = "demo", .dir = "/workspace", .pinned = true});
  const auto gone = Forgettable({first, edition}, {}, kNow, Nobody);
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0].file, first.file);
}

TEST(Forget, RemovesAndLeavesNoLock) {
  const auto store = repository::NewStore();
  const auto repository = MustOpen(store);
  SaveSnapshot(*repository, {{"a", "1"}}, {.sandbox = "demo", .dir = "/w", .expires_at = kNow});
  SaveSnapshot(*repository, {{"a", "2"}}, {.sandbox = "demo", .dir = "/w", .expires_at = kNow});
  EXPECT_EQ(Must(Forget(*repository, {}, kNow - 1, Nobody)), 0U);
  EXPECT_EQ(Must(Forget(*repository, {}, kNow, All)), 1U);
  EXPECT_EQ(store->Keys("snapshots/").size(), 1U);
  EXPECT_EQ(Must(Forget(*repository, {}, kNow, Nobody)), 1U);
  EXPECT_THAT(store->Keys("snapshots/"), IsEmpty());
  EXPECT_THAT(store->Keys("locks/"), IsEmpty());
}

TEST_F(ResticFixture, RulesAreThoseOfRestic) {
  std::mt19937_64 random(7);
  auto record =
      SaveSnapshot(*repository_, {{"a", "1"}}, {.sandbox = "demo", .dir = "/w", .expires_at = 1});
  Must(repository_->RemoveSnapshot(record.file));
  for (int i = 0; i < 150; ++i) {
    record.time = {.seconds = kNow - static_cast<int64_t>(random() % (400 * kDay))};
    Must(repository_->SaveSnapshot(record));
  }
  const auto all = repository_->Snapshots();
  for (const auto& [rules, arguments] : std::vector<std::pair<KeepRules, std::string>>{
           {{.last = 7}, "--keep-last 7"},
           {{.hourly = 20}, "--keep-hourly 20"},
           {{.daily = 30}, "--keep-daily 30"},
           {{.weekly = 30}, "--keep-weekly 30"},
           {{.monthly = 6}, "--keep-monthly 6"},
           {{.last = 3, .hourly = 5, .daily = 7, .weekly = 8, .monthly = 9},
            "--keep-last 3 --keep-hourly 5 --keep-daily 7 --keep-weekly 8 --keep-monthly 9"}}) {
    const Ran ran = Restic("forget --dry-run --compact --group-by host " + arguments);
    ASSERT_EQ(ran.status, 0) << ran.output;
    const std::string kept = ran.output.substr(0, ran.output.find("\nremove "));
    const auto gone = Forgettable(all, rules, kNow, Nobody);
    for (const SnapshotRecord& snapshot : all) {
      const bool goes = std::ranges::any_of(
          gone, [&](const SnapshotRecord& other) { return other.file == snapshot.file; });
      EXPECT_EQ(kept.find(snapshot.file.Short()) == std::string::npos, goes)
          << arguments << " " << FormatTime(snapshot.time);
    }
  }
}

}  // namespace
}  // namespace atl::snapshot
