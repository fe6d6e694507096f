// SPDX-License-Identifier: Apache-2.0
#include "sandbox/usage.h"

#include <algorithm>

namespace atl::sandbox {
namespace {

constexpr size_t kMostOomSpans = 256;
constexpr double kWalkPause = 60;           // seconds
constexpr uint64_t kIdleCpuUsec = 200'000;  // what an idle sandbox may use up meanwhile

double Cpus(const UsageCounts& before, const UsageCounts& after) {
  double seconds = after.at_seconds - before.at_seconds;
  // Counted anew when it has been started again.
  if (seconds <= 0 || after.cpu_usec < before.cpu_usec) return 0;
  return static_cast<double>(after.cpu_usec - before.cpu_usec) / 1e6 / seconds;
}

}  // namespace

void UsageBook::Begin(const std::string& iid, uint64_t oom_kills, int64_t at_ms) {
  std::lock_guard guard(mutex_);
  auto [found, fresh] = entries_.try_emplace(iid);
  Entry& entry = found->second;
  if (fresh) entry.oom_kills = oom_kills;
  entry.oom_seen = oom_kills;
  entry.oom_looked_ms = at_ms;
  entry.sampled = false;
  entry.walked_cpu_usec = 0;
  entry.walked_at = 0;
}

void UsageBook::End(const std::string& iid) {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end()) return;
  found->second.sampled = false;
  found->second.history.clear();
}

void UsageBook::Add(const std::string& iid, const UsageCounts& counts) {
  std::lock_guard guard(mutex_);
  Entry& entry = entries_[iid];
  UsageSample sample{.at_ms = counts.at_ms,
                     .cpus = entry.sampled ? Cpus(entry.last, counts) : 0,
                     .memory_bytes = counts.memory_bytes,
                     .processes = counts.processes,
                     .disk_bytes = entry.disk ? entry.disk->bytes : 0,
                     .sent_bytes = counts.sent_bytes,
                     .received_bytes = counts.received_bytes};
  entry.last = counts;
  entry.sampled = true;
  entry.history.push_back(sample);
  if (entry.history.size() > kUsageSamples) entry.history.pop_front();
}

void UsageBook::AddAsleep(const std::string& iid, int64_t at_ms, uint64_t memory_bytes) {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end() || found->second.history.empty()) return;
  UsageSample sample = found->second.history.back();
  sample.at_ms = at_ms;
  sample.cpus = 0;
  sample.memory_bytes = memory_bytes;
  found->second.history.push_back(sample);
  if (found->second.history.size() > kUsageSamples) found->second.history.pop_front();
}

void UsageBook::SetDisk(const std::string& iid, const DiskUsage& disk, double at_seconds) {
  std::lock_guard guard(mutex_);
  Entry& entry = entries_[iid];
  entry.disk = disk;
  entry.walked_at = at_seconds;
  entry.walked_cpu_usec = entry.last.cpu_usec;
  if (!entry.history.empty()) entry.history.back().disk_bytes = disk.bytes;
}

bool UsageBook::WantsWalk(const std::string& iid, double at_seconds) const {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end()) return false;
  const Entry& entry = found->second;
  if (!entry.disk || entry.walked_at == 0) return true;
  return at_seconds - entry.walked_at >= kWalkPause &&
         entry.last.cpu_usec > entry.walked_cpu_usec + kIdleCpuUsec;
}

bool UsageBook::NoteOom(const std::string& iid, uint64_t oom_kills, int64_t began_ms,
                        int64_t at_ms) {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end()) return false;
  Entry& entry = found->second;
  if (oom_kills < entry.oom_seen) return false;  // somebody else has looked later
  int64_t looked_ms = std::exchange(entry.oom_looked_ms, began_ms);
  if (oom_kills == entry.oom_seen) return false;
  entry.oom_spans.push_back(
      {.from_ms = looked_ms, .to_ms = at_ms, .kills = oom_kills - entry.oom_seen, .owners = {}});
  if (entry.oom_spans.size() > kMostOomSpans) entry.oom_spans.pop_front();
  entry.oom_kills += oom_kills - entry.oom_seen;
  entry.oom_seen = oom_kills;
  entry.last_oom_at_ms = at_ms;
  return true;
}

OomAnswer UsageBook::ClaimOom(const std::string& iid, const OomQuestion& question) {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end()) return OomAnswer::kNo;
  for (auto& span : found->second.oom_spans) {
    if (std::ranges::find(span.owners, question.who) != span.owners.end()) return OomAnswer::kYes;
  }
  for (auto& span : found->second.oom_spans) {
    if (span.from_ms > question.to_ms || question.from_ms > span.to_ms) continue;
    size_t taken = span.owners.size();
    if (question.claim != OomClaim::kFirm) taken += span.likely;
    if (taken >= span.kills) continue;
    if (question.claim == OomClaim::kLook) return OomAnswer::kUnsure;
    if (question.claim == OomClaim::kLikely) {
      ++span.likely;
      return OomAnswer::kNo;
    }
    span.owners.push_back(question.who);
    return OomAnswer::kYes;
  }
  return OomAnswer::kNo;
}

std::optional<UsageReport> UsageBook::Of(const std::string& iid, bool with_history) const {
  std::lock_guard guard(mutex_);
  auto found = entries_.find(iid);
  if (found == entries_.end()) return std::nullopt;
  const Entry& entry = found->second;
  UsageReport report{
      .disk = entry.disk, .oom_kills = entry.oom_kills, .last_oom_at_ms = entry.last_oom_at_ms};
  if (!entry.history.empty()) report.now = entry.history.back();
  if (with_history) report.history.assign(entry.history.begin(), entry.history.end());
  return report;
}

void UsageBook::Keep(const std::set<std::string>& iids) {
  std::lock_guard guard(mutex_);
  std::erase_if(entries_, [&](const auto& item) { return !iids.contains(item.first); });
}

}  // namespace atl::sandbox
