// SPDX-License-Identifier: Apache-2.0
// What sandboxes use, looked at every few seconds and kept for ten minutes.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sandbox/ended_for_memory.h"

namespace atl::sandbox {

inline constexpr std::chrono::milliseconds kUsagePause{5'000};
inline constexpr size_t kUsageSamples = 120;

// As it is counted, from the sandbox's start on.
struct UsageCounts {
  int64_t at_ms = 0;      // Unix time
  double at_seconds = 0;  // of a clock that never jumps
  uint64_t cpu_usec = 0;
  uint64_t memory_bytes = 0;
  uint64_t processes = 0;
  uint64_t oom_kills = 0;
  uint64_t sent_bytes = 0;  // to the network
  uint64_t received_bytes = 0;
};

struct DiskUsage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  bool complete = true;  // false: it is at least that much
};

struct UsageSample {
  int64_t at_ms = 0;
  double cpus = 0;  // since the sample before
  uint64_t memory_bytes = 0;
  uint64_t processes = 0;
  uint64_t disk_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

struct UsageReport {
  UsageSample now;
  std::optional<DiskUsage> disk;     // nothing: not looked at yet
  uint64_t oom_kills = 0;            // that this daemon knows of
  int64_t last_oom_at_ms = 0;        // 0: never, or before this daemon
  std::vector<UsageSample> history;  // oldest first, `now` last; where it was asked for
};

// Usage of all sandboxes by internal id. May be used from any thread.
class UsageBook {
 public:
  // A sandbox runs from now on; `oom_kills`: what its cgroup has counted already.
  void Begin(const std::string& iid, uint64_t oom_kills, int64_t at_ms);
  // It runs no more: only what outlives that is kept.
  void End(const std::string& iid);
  void Add(const std::string& iid, const UsageCounts& counts);
  // It stands still from now on, with so much memory.
  void AddAsleep(const std::string& iid, int64_t at_ms, uint64_t memory_bytes);
  void SetDisk(const std::string& iid, const DiskUsage& disk, double at_seconds);
  // Whether a walk through the layer is worth its cost: it was done long ago, and programs have
  // run since.
  bool WantsWalk(const std::string& iid, double at_seconds) const;
  // True when there are more than were known. They were counted after `began_ms` and before
  // `at_ms`: who looks may be kept from noting it for long.
  bool NoteOom(const std::string& iid, uint64_t oom_kills, int64_t began_ms, int64_t at_ms);
  // Whether one of those was the end of what is asked about (ended_for_memory.h). It is nobody
  // else's from then on.
  OomAnswer ClaimOom(const std::string& iid, const OomQuestion& question);

  std::optional<UsageReport> Of(const std::string& iid, bool with_history) const;
  // Forgets all others.
  void Keep(const std::set<std::string>& iids);

 private:
  struct Entry {
    UsageCounts last;
    bool sampled = false;
    std::deque<UsageSample> history;
    std::optional<DiskUsage> disk;
    double walked_at = 0;
    uint64_t walked_cpu_usec = 0;
    uint64_t oom_seen = 0;   // of the cgroup that it has now
    uint64_t oom_kills = 0;  // of all
    int64_t last_oom_at_ms = 0;
    int64_t oom_looked_ms = 0;  // when the count was looked at last
    // Between which looks it has grown, by how many, and whose those were.
    struct Span {
      int64_t from_ms = 0;
      int64_t to_ms = 0;
      uint64_t kills = 0;
      std::vector<std::string> owners;
      uint64_t likely = 0;  // ends of programs of somebody who went on
    };
    std::deque<Span> oom_spans;
  };

  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace atl::sandbox
