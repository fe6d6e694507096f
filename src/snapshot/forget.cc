// SPDX-License-Identifier: Apache-2.0
// Which snapshots stay.
#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <map>
#include <ranges>
#include <utility>

#include "snapshot/latest.h"
#include "snapshot/maintenance.h"

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::SnapshotRecord;
using repository::Tags;

struct Candidate {
  const SnapshotRecord* record = nullptr;
  Tags tags;
};

int64_t FloorDiv(int64_t value, int64_t by) { return (value / by) - (value % by < 0 ? 1 : 0); }

int64_t MonthOf(int64_t day) {
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
  return (int64_t{static_cast<int>(date.year())} * 12) + static_cast<unsigned>(date.month());
}

// A rule keeps the newest of each of its last so many spans of time.
struct Rule {
  uint32_t left = 0;
  int64_t (*bucket)(int64_t seconds) = nullptr;
  int64_t last = std::numeric_limits<int64_t>::min();

  // Called for the newest first. The oldest of all stays while the rule has something left, so that
  // history begins to be as long as the rule says.
  bool Keeps(int64_t seconds, bool oldest) {
    if (left == 0) return false;
    const int64_t value = bucket(seconds);
    if (value == last && !oldest) return false;
    last = value;
    --left;
    return true;
  }
};

std::array<Rule, 4> RulesOf(const KeepRules& rules) {
  return {
      Rule{.left = rules.hourly, .bucket = [](int64_t s) { return FloorDiv(s, 3600); }},
      Rule{.left = rules.daily, .bucket = [](int64_t s) { return FloorDiv(s, 86400); }},
      // Of ISO 8601: from Monday on. The first of January 1970 was a Thursday.
      Rule{.left = rules.weekly,
           .bucket = [](int64_t s) { return FloorDiv(FloorDiv(s, 86400) + 3, 7); }},
      Rule{.left = rules.monthly, .bucket = [](int64_t s) { return MonthOf(FloorDiv(s, 86400)); }},
  };
}

bool IsOlder(const SnapshotRecord* a, const SnapshotRecord* b) {
  return a->time != b->time ? a->time < b->time : a->file < b->file;
}

// `group`: of one sandbox and directory.
void DecideGroup(std::vector<Candidate>& group, const KeepRules& keep, int64_t now_seconds,
                 bool needed, std::vector<const SnapshotRecord*>& gone) {
  std::ranges::sort(
      group, [](const Candidate& a, const Candidate& b) { return IsOlder(b.record, a.record); });
  std::vector<const SnapshotRecord*> oldest_first;
  for (const Candidate& candidate : group | std::views::reverse) {
    oldest_first.push_back(candidate.record);
  }
  const SnapshotRecord* latest = Latest(oldest_first);
  auto rules = RulesOf(keep);
  for (size_t i = 0; i < group.size(); ++i) {
    const bool oldest = i + 1 == group.size();
    bool stays = i < keep.last || (needed && (i == 0 || group[i].record == latest));
    for (Rule& rule : rules) stays |= rule.Keeps(group[i].record->time.seconds, oldest);
    const Tags& tags = group[i].tags;
    const bool expired = tags.expires_at && *tags.expires_at <= now_seconds;
    if (!stays && !tags.pinned && expired) gone.push_back(group[i].record);
  }
}

}  // namespace

std::vector<SnapshotRecord> Forgettable(
    const std::vector<SnapshotRecord>& snapshots, const KeepRules& rules, int64_t now_seconds,
    const std::function<bool(std::string_view sandbox)>& needed) {
  std::vector<const SnapshotRecord*> gone;
  // Of several editions of a snapshot, which changing its tags leaves when it is cut short, the
  // latest counts.
  std::map<std::pair<Id, Id>, const SnapshotRecord*> editions;
  for (const SnapshotRecord& record : snapshots) {
    if (repository::DecodeTags(record.tags).sandbox.empty()) continue;
    const auto [at, added] = editions.try_emplace({record.id(), record.tree}, &record);
    if (added) continue;
    const bool later = IsLaterEdition(record, *at->second);
    gone.push_back(later ? std::exchange(at->second, &record) : &record);
  }
  std::map<std::pair<std::string, std::string>, std::vector<Candidate>> groups;
  for (const auto& [edition, record] : editions) {
    Tags tags = repository::DecodeTags(record->tags);
    auto& group = groups[{tags.sandbox, tags.dir}];
    group.push_back({.record = record, .tags = std::move(tags)});
  }
  for (auto& [name, group] : groups) {
    DecideGroup(group, rules, now_seconds, needed && needed(name.first), gone);
  }
  std::ranges::sort(gone, IsOlder);
  std::vector<SnapshotRecord> records;
  records.reserve(gone.size());
  for (const SnapshotRecord* record : gone) records.push_back(*record);
  return records;
}

Result<uint64_t> Forget(repository::Repository& repository, const KeepRules& rules,
                        int64_t now_seconds,
                        const std::function<bool(std::string_view sandbox)>& needed,
                        std::stop_token stop) {
  // Without a lock first: usually there is nothing to do.
  TRY(repository.Refresh(stop));
  if (Forgettable(repository.AllEditions(), rules, now_seconds, needed).empty()) return 0;
  ASSIGN(const auto lock, repository.LockShared(stop));
  uint64_t removed = 0;
  for (const SnapshotRecord& record :
       Forgettable(repository.AllEditions(), rules, now_seconds, needed)) {
    if (stop.stop_requested())
      return Fail(Code::kCancelled, "stopped while snapshots were removed");
    if (!lock->valid()) return Fail(Code::kUnavailable, "the repository's lock was lost");
    TRY(repository.RemoveSnapshot(record.file));
    ++removed;
  }
  return removed;
}

}  // namespace atl::snapshot
