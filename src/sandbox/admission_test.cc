// SPDX-License-Identifier: Apache-2.0
#include "sandbox/admission.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "async/runtime.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

constexpr uint64_t kMiB = 1ULL << 20U;
constexpr uint64_t kGiB = 1ULL << 30U;

const HostState kRoomy{.memory_total = 16 * kGiB,
                       .memory_available = 10 * kGiB,
                       .memory_pressure = 0.5,
                       .disk_total = 100 * kGiB,
                       .disk_free = 50 * kGiB,
                       .inodes_total = 1'000'000,
                       .inodes_free = 900'000};
const RoomFor kDemand{.id = "x", .memory_bytes = 4 * kGiB};

std::string Why(const AdmissionRules& rules, const HostState& host, const Occupancy& load,
                const RoomFor& demand = kDemand) {
  auto why = WhyNot(rules, host, load, demand);
  if (!why) return "";
  EXPECT_EQ(503, HttpStatus(why->code));
  EXPECT_EQ("CAPACITY_EXCEEDED", ReasonOf(*why));
  return why->message;
}

TEST(AdmissionTest, ARoomyHostTakesMore) {
  EXPECT_EQ("", Why({}, kRoomy, {.sandboxes = 1000, .starting = 50, .promised = 4000 * kGiB}));
  // What could not be found out does not stop anybody.
  EXPECT_EQ("", Why({}, HostState{}, {.sandboxes = 10}));
}

TEST(AdmissionTest, ACountIsALimitOfNewOnes) {
  AdmissionRules rules{.max_sandboxes = 3};
  EXPECT_EQ("", Why(rules, kRoomy, {.sandboxes = 2}));
  EXPECT_NE("", Why(rules, kRoomy, {.sandboxes = 3}));
  EXPECT_EQ("", Why(rules, kRoomy, {.sandboxes = 3}, {.id = "x", .adds = false}));
}

TEST(AdmissionTest, MemoryThatIsUsedCounts) {
  HostState tight = kRoomy;
  tight.memory_available = 700 * kMiB;
  EXPECT_EQ("", Why({}, tight, {}));
  EXPECT_NE("", Why({}, tight, {.starting = 3})) << "those on their way will need some";
  EXPECT_NE("", Why({}, tight, {.booting = 1}))
      << "an OpenCode that starts shows late what it takes";
  EXPECT_EQ("", Why({}, kRoomy, {.booting = 3}));
  tight.memory_available = 500 * kMiB;
  EXPECT_NE("", Why({}, tight, {}));
  EXPECT_NE("", Why({}, tight, {}, {.id = "x", .adds = false})) << "a start needs it too";
  EXPECT_EQ("", Why({.memory_reserve = 100 * kMiB}, tight, {}));
  EXPECT_NE("", Why({.memory_reserve = 11 * kGiB}, kRoomy, {}));
  // What takes over a member of the pool has its memory already.
  RoomFor claim{.id = "x", .memory_bytes = 4 * kGiB, .has_memory = true};
  EXPECT_EQ("", Why({}, tight, {}, claim));
  EXPECT_NE("", Why({.overcommit = 0.1}, tight, {}, claim));
  EXPECT_NE("", Why({.max_sandboxes = 1}, tight, {.sandboxes = 1}, claim));
  // A small host keeps a twentieth.
  HostState small{.memory_total = kGiB, .memory_available = 200 * kMiB};
  EXPECT_EQ("", Why({}, small, {}));
}

TEST(AdmissionTest, SaysHowMuchMemoryIsMissing) {
  HostState tight = kRoomy;
  tight.memory_available = 500 * kMiB;
  AdmissionRules rules{.memory_reserve = 600 * kMiB};
  EXPECT_EQ(0U, MissingMemory({}, kRoomy, {}, kDemand));
  uint64_t missing = MissingMemory(rules, tight, {}, kDemand);
  EXPECT_GT(missing, 100 * kMiB);
  tight.memory_available += missing;
  EXPECT_EQ("", Why(rules, tight, {}));
  EXPECT_EQ(0U, MissingMemory(rules, tight, {}, kDemand));
  // More memory would be of no use.
  tight.memory_available = 500 * kMiB;
  tight.disk_free = 0;
  EXPECT_EQ(0U, MissingMemory(rules, tight, {}, kDemand));
  EXPECT_EQ(0U, MissingMemory(rules, kRoomy, {}, {.id = "x", .has_memory = true}));
}

TEST(AdmissionTest, PressureCounts) {
  HostState pressed = kRoomy;
  pressed.memory_pressure = 80;
  EXPECT_NE("", Why({}, pressed, {}));
  EXPECT_EQ("", Why({.memory_pressure = 0}, pressed, {}));
  pressed.memory_pressure.reset();
  EXPECT_EQ("", Why({}, pressed, {}));
}

TEST(AdmissionTest, WhatIsPromisedCountsWhenAsked) {
  Occupancy load{.promised = 28 * kGiB};
  EXPECT_EQ("", Why({}, kRoomy, load));
  EXPECT_EQ("", Why({.overcommit = 2}, kRoomy, load));
  EXPECT_NE("", Why({.overcommit = 1.5}, kRoomy, load));
}

TEST(AdmissionTest, TheDiskKeepsAReserve) {
  HostState full = kRoomy;
  full.disk_free = 900 * kMiB;
  EXPECT_NE("", Why({}, full, {}));
  EXPECT_EQ("", Why({.disk_reserve = 100 * kMiB}, full, {}));
  EXPECT_EQ("", Why({}, full, {}, {.id = "x", .adds = false})) << "its files are there already";
  EXPECT_NE("", Why({.disk_reserve = 890 * kMiB}, full, {}, {.id = "x", .disk_bytes = kGiB}));
  EXPECT_EQ("", Why({.disk_reserve = 890 * kMiB}, full, {})) << "it takes no more than is free";
  HostState small{.disk_total = 2 * kGiB, .disk_free = 200 * kMiB};
  EXPECT_EQ("", Why({}, small, {}));
  full = kRoomy;
  full.inodes_free = 50;
  EXPECT_NE("", Why({}, full, {}));
  EXPECT_EQ("", Why({.disk_reserve = 0}, full, {})) << "not looked at";
}

TEST(AdmissionTest, DiskThatIsPromisedCountsWhenAsked) {
  Occupancy load{.disk_promised = 150 * kGiB};
  RoomFor bounded{.id = "x", .disk_bytes = 10 * kGiB};
  EXPECT_EQ("", Why({}, kRoomy, load, bounded));
  EXPECT_EQ("", Why({.disk_overcommit = 1.6}, kRoomy, load, bounded));
  EXPECT_NE("", Why({.disk_overcommit = 1.5}, kRoomy, load, bounded));
  EXPECT_NE("", Why({.disk_reserve = 0, .disk_overcommit = 1.5}, kRoomy, load, bounded));
  EXPECT_EQ("", Why({.disk_overcommit = 1.5}, kRoomy, load)) << "it is promised nothing";
  bounded.adds = false;
  EXPECT_EQ("", Why({.disk_overcommit = 1.5}, kRoomy, load, bounded)) << "it has its promise";
}

TEST(AdmissionTest, ReadsWhatTheHostSays) {
  std::string proc = testing::TempDir() + "/admission-proc";
  std::filesystem::create_directories(proc + "/pressure");
  ASSERT_TRUE(sys::WriteFile(proc + "/meminfo",
                             "MemTotal:       24684084 kB\nMemFree:        22643660 kB\n"
                             "MemAvailable:   24243660 kB\nBuffers: 5 kB\n"));
  ASSERT_TRUE(sys::WriteFile(proc + "/pressure/memory",
                             "some avg10=12.50 avg60=3.00 avg300=1.00 total=9\n"
                             "full avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"));
  HostState host = ReadHostState("/", proc);
  EXPECT_EQ(24684084ULL * 1024, host.memory_total);
  EXPECT_EQ(24243660ULL * 1024, host.memory_available);
  EXPECT_EQ(12.5, host.memory_pressure);
  EXPECT_GT(host.disk_total, 0U);
  std::filesystem::remove_all(proc);
  EXPECT_EQ(0U, ReadHostState("/nowhere", proc).memory_total);
}

// A queue for a host that has room for `room` sandboxes.
class QueueTest : public testing::Test {
 protected:
  using Ticket = Admission::Ticket;

  Occupancy Count(const std::set<std::string>& starting) const {
    return {.sandboxes = running_ + starting.size()};
  }
  // The order in which `names` get in, each waiting `wait`, while room appears one by one.
  std::vector<std::string> Enter(const std::vector<std::string>& names,
                                 std::chrono::milliseconds wait) {
    async::Runtime runtime(1, 1);
    async::Spawn(runtime.shard(0), EnterAll(runtime, names, wait), "all");
    runtime.Run();
    return entered_;
  }

  async::Task<> EnterAll(async::Runtime& runtime, std::vector<std::string> names,
                         std::chrono::milliseconds wait) {
    for (const std::string& name : names) {
      async::Spawn(runtime.shard(0), EnterOne(name, wait), "enter");
      co_await async::Sleep(std::chrono::milliseconds(1));
    }
    waiting_ = admission_.waiting();
    while (ended_ < names.size()) {
      if (grows_ && !tickets_.empty()) tickets_.erase(tickets_.begin());
      co_await async::Sleep(std::chrono::milliseconds(10));
    }
    tickets_.clear();
    runtime.Stop();
  }

  async::Task<> EnterOne(std::string name, std::chrono::milliseconds wait) {
    RoomFor demand{.id = name};
    Result<Ticket> ticket = co_await admission_.Admit(std::move(demand), wait);
    if (ticket) {
      entered_.push_back(name);
      tickets_.push_back(*std::move(ticket));
    }
    ++ended_;
  }

  std::vector<std::string> entered_;
  size_t ended_ = 0;
  uint64_t running_ = 0;
  bool grows_ = true;
  size_t waiting_ = 0;
  Admission admission_{{.max_sandboxes = 1},
                       [] { return HostState{}; },
                       [this](const std::set<std::string>& starting) { return Count(starting); }};
  std::vector<Ticket> tickets_;
};

TEST_F(QueueTest, FirstComeFirstServed) {
  EXPECT_EQ((std::vector<std::string>{"a", "b", "c", "d"}),
            Enter({"a", "b", "c", "d"}, std::chrono::seconds(30)));
  EXPECT_EQ(3U, waiting_);
  EXPECT_EQ(0U, admission_.waiting());
}

TEST_F(QueueTest, WhoDoesNotWaitIsRefused) {
  EXPECT_EQ((std::vector<std::string>{"a"}), Enter({"a", "b"}, std::chrono::milliseconds(0)));
}

TEST_F(QueueTest, WaitingEnds) {
  grows_ = false;
  EXPECT_EQ((std::vector<std::string>{"a"}),
            Enter({"a", "b", "c"}, std::chrono::milliseconds(150)));
  EXPECT_EQ(0U, admission_.waiting());
}

TEST_F(QueueTest, SeveralCallsForOneAreOne) {
  grows_ = false;
  EXPECT_EQ((std::vector<std::string>{"a", "a"}), Enter({"a", "a"}, std::chrono::milliseconds(0)));
}

}  // namespace
}  // namespace atl::sandbox
