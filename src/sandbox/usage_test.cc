// SPDX-License-Identifier: Apache-2.0
#include "sandbox/usage.h"

#include <gtest/gtest.h>

namespace atl::sandbox {
namespace {

UsageCounts At(double seconds, uint64_t cpu_usec, uint64_t memory = 1000) {
  return {.at_ms = static_cast<int64_t>(seconds * 1000),
          .at_seconds = seconds,
          .cpu_usec = cpu_usec,
          .memory_bytes = memory,
          .processes = 3};
}

TEST(UsageTest, CpuIsARateAndTheRestIsAsItIs) {
  UsageBook book;
  EXPECT_FALSE(book.Of("a", true));
  book.Begin("a", 0, 0);
  EXPECT_TRUE(book.Of("a", true)->history.empty());
  book.Add("a", At(10, 7'000'000));
  EXPECT_EQ(0, book.Of("a", false)->now.cpus) << "one count is no rate";
  book.Add("a", At(15, 14'500'000, 2000));
  auto report = book.Of("a", true);
  ASSERT_TRUE(report);
  EXPECT_DOUBLE_EQ(1.5, report->now.cpus);
  EXPECT_EQ(2000U, report->now.memory_bytes);
  EXPECT_EQ(3U, report->now.processes);
  ASSERT_EQ(2U, report->history.size());
  EXPECT_EQ(10'000, report->history[0].at_ms);
  EXPECT_TRUE(book.Of("a", false)->history.empty());
}

TEST(UsageTest, ASleeperIsShownAsItSleeps) {
  UsageBook book;
  book.AddAsleep("a", 1, 1);
  EXPECT_FALSE(book.Of("a", true)) << "one that nobody has looked at";
  book.Begin("a", 0, 0);
  book.Add("a", At(10, 0, 3000));
  book.Add("a", At(15, 5'000'000, 3000));
  book.AddAsleep("a", 16'000, 70);
  auto report = book.Of("a", true);
  EXPECT_EQ(0, report->now.cpus);
  EXPECT_EQ(70U, report->now.memory_bytes);
  EXPECT_EQ(16'000, report->now.at_ms);
  EXPECT_EQ(3U, report->history.size());
}

TEST(UsageTest, HistoryIsBoundedAndEndsWithTheSandbox) {
  UsageBook book;
  book.Begin("a", 0, 0);
  for (int i = 1; i <= 500; ++i) book.Add("a", At(i, static_cast<uint64_t>(i)));
  EXPECT_EQ(kUsageSamples, book.Of("a", true)->history.size());
  EXPECT_EQ(500'000, book.Of("a", true)->now.at_ms);
  book.End("a");
  EXPECT_TRUE(book.Of("a", true)->history.empty());
  // Started again: its counters begin at 0.
  book.Begin("a", 0, 0);
  book.Add("a", At(600, 5));
  EXPECT_EQ(0, book.Of("a", false)->now.cpus);
  book.Keep({"b"});
  EXPECT_FALSE(book.Of("a", false));
}

TEST(UsageTest, AnIdleSandboxIsNotWalkedThrough) {
  UsageBook book;
  book.Begin("a", 0, 0);
  book.Add("a", At(100, 1'000'000));
  EXPECT_TRUE(book.WantsWalk("a", 100));
  book.SetDisk("a", {.bytes = 4096, .inodes = 1}, 100);
  EXPECT_EQ(4096U, book.Of("a", false)->now.disk_bytes);
  EXPECT_FALSE(book.WantsWalk("a", 110));
  book.Add("a", At(300, 1'050'000));
  EXPECT_FALSE(book.WantsWalk("a", 300)) << "nothing has run";
  book.Add("a", At(305, 9'000'000));
  EXPECT_TRUE(book.WantsWalk("a", 305));
  EXPECT_EQ(4096U, book.Of("a", false)->now.disk_bytes) << "kept until it is known better";
}

TEST(UsageTest, EveryOomCountsOnce) {
  UsageBook book;
  EXPECT_FALSE(book.NoteOom("a", 1, 5, 5)) << "nobody that is known";
  book.Begin("a", 2, 1);  // adopted
  EXPECT_FALSE(book.NoteOom("a", 2, 5, 5));
  EXPECT_EQ(2U, book.Of("a", false)->oom_kills);
  EXPECT_EQ(0, book.Of("a", false)->last_oom_at_ms);
  EXPECT_TRUE(book.NoteOom("a", 3, 6, 6));
  EXPECT_FALSE(book.NoteOom("a", 3, 7, 7));
  EXPECT_EQ(3U, book.Of("a", false)->oom_kills);
  EXPECT_EQ(6, book.Of("a", false)->last_oom_at_ms);
  book.Begin("a", 0, 0);  // stopped and started: the kernel counts anew
  EXPECT_TRUE(book.NoteOom("a", 1, 8, 8));
  EXPECT_EQ(4U, book.Of("a", false)->oom_kills);
}

TEST(UsageTest, EveryOomIsOfOneAlone) {
  UsageBook book;
  book.Begin("a", 0, 1);
  book.NoteOom("a", 0, 5, 5);
  book.NoteOom("a", 2, 6, 6);
  auto claim = [&](const char* who, int64_t from, int64_t to, OomClaim claim) {
    return book.ClaimOom("a", {.who = who, .from_ms = from, .to_ms = to, .claim = claim});
  };
  EXPECT_EQ(OomAnswer::kNo, claim("early", 2, 4, OomClaim::kFirm)) << "before that";
  EXPECT_EQ(OomAnswer::kNo, claim("late", 7, 9, OomClaim::kFirm));
  EXPECT_EQ(OomAnswer::kUnsure, claim("one", 5, 5, OomClaim::kLook)) << "between the looks";
  EXPECT_EQ(OomAnswer::kYes, claim("one", 5, 5, OomClaim::kWeak));
  EXPECT_EQ(OomAnswer::kYes, claim("one", 5, 5, OomClaim::kLook)) << "asked again";
  EXPECT_EQ(OomAnswer::kNo, claim("went on", 2, 6, OomClaim::kLikely));
  EXPECT_EQ(OomAnswer::kNo, claim("two", 2, 6, OomClaim::kWeak)) << "likely not its";
  EXPECT_EQ(OomAnswer::kYes, claim("two", 2, 6, OomClaim::kFirm));
  EXPECT_EQ(OomAnswer::kNo, claim("three", 2, 6, OomClaim::kFirm)) << "there were two";
  EXPECT_EQ(OomAnswer::kNo, book.ClaimOom("b", {.who = "one"}));
}

TEST(UsageTest, ALookThatIsNotedLateHidesNoOom) {
  UsageBook book;
  book.Begin("a", 0, 1);
  auto claim = [&](const char* who, int64_t at) {
    return book.ClaimOom("a",
                         {.who = who, .from_ms = at - 2, .to_ms = at, .claim = OomClaim::kFirm});
  };
  book.NoteOom("a", 0, 2, 9);  // looked at 2, before the kill
  book.NoteOom("a", 1, 6, 9);
  EXPECT_EQ(OomAnswer::kYes, claim("one", 6));
  EXPECT_FALSE(book.NoteOom("a", 0, 2, 12)) << "what was seen before that is no news";
  EXPECT_EQ(1U, book.Of("a", false)->oom_kills);
  EXPECT_TRUE(book.NoteOom("a", 2, 14, 15));
  EXPECT_EQ(OomAnswer::kNo, claim("too early", 5)) << "between 6 and 15";
  EXPECT_EQ(OomAnswer::kYes, claim("two", 14));
}

}  // namespace
}  // namespace atl::sandbox
