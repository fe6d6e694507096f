// SPDX-License-Identifier: Apache-2.0
// The snapshots of a repository.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "repository/lock_owner.h"
#include "repository/repository_impl.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

constexpr size_t kMinPrefix = 8;

bool IsHexPrefix(std::string_view id) {
  return id.size() >= kMinPrefix && id.size() <= 64 &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The winner of each snapshot; the pointers are into `held`.
template <typename Held>
std::map<std::pair<Id, Id>, const SnapshotRecord*> Winners(const Held& held) {
  std::map<std::pair<Id, Id>, const SnapshotRecord*> winners;
  for (const auto& [file, one] : held) {
    const SnapshotRecord& record = one.record;
    const auto [at, added] = winners.try_emplace({record.id(), record.tree}, &record);
    if (!added && IsLaterEdition(record, *at->second)) at->second = &record;
  }
  return winners;
}

void SortOldestFirst(std::vector<SnapshotRecord>& records) {
  std::sort(records.begin(), records.end(), [](const SnapshotRecord& a, const SnapshotRecord& b) {
    return a.time != b.time ? a.time < b.time : a.file < b.file;
  });
}

}  // namespace

bool SameSnapshot(const SnapshotRecord& a, const SnapshotRecord& b) {
  return a.id() == b.id() && a.tree == b.tree;
}

bool IsLaterEdition(const SnapshotRecord& record, const SnapshotRecord& than) {
  const uint64_t own = record.decoded_tags().edition;
  const uint64_t its = than.decoded_tags().edition;
  if (own != its) return own > its;
  if (record.original.has_value() != than.original.has_value()) return record.original.has_value();
  return than.file < record.file;
}

void RepositoryImpl::Hold(const SnapshotRecord& record) {
  const std::lock_guard lock(mutex_);
  snapshots_.insert_or_assign(record.file,
                              HeldSnapshot{.record = record, .generation = ++generation_});
}

std::vector<SnapshotRecord> RepositoryImpl::Snapshots() const {
  std::vector<SnapshotRecord> records;
  {
    const std::lock_guard lock(mutex_);
    const auto winners = Winners(snapshots_);
    records.reserve(winners.size());
    for (const auto& [snapshot, record] : winners) records.push_back(*record);
  }
  SortOldestFirst(records);
  return records;
}

std::vector<SnapshotRecord> RepositoryImpl::AllEditions() const {
  std::vector<SnapshotRecord> records;
  {
    const std::lock_guard lock(mutex_);
    records.reserve(snapshots_.size());
    for (const auto& [file, held] : snapshots_) records.push_back(held.record);
  }
  SortOldestFirst(records);
  return records;
}

Result<SnapshotRecord> RepositoryImpl::FindSnapshot(std::string_view id) const {
  const auto not_found = [&] {
    return Fail(Code::kNotFound, fmt::format("there is no snapshot {}", id.substr(0, 64)),
                "BACKUP_NOT_FOUND");
  };
  if (!IsHexPrefix(id)) return not_found();
  const std::lock_guard lock(mutex_);
  const auto winners = Winners(snapshots_);
  // A file's own name goes before that of what it is an edition of.
  std::map<Id, const SnapshotRecord*> by_file;
  std::map<Id, const SnapshotRecord*> by_id;
  const auto add = [](std::map<Id, const SnapshotRecord*>& to, const SnapshotRecord* record) {
    const auto [at, added] = to.try_emplace(record->id(), record);
    if (!added && IsLaterEdition(*record, *at->second)) at->second = record;
  };
  for (const auto& [file, held] : snapshots_) {
    const bool named = file.Hex().starts_with(id);
    if (!named && !held.record.id().Hex().starts_with(id)) continue;
    add(named ? by_file : by_id, winners.at({held.record.id(), held.record.tree}));
  }
  by_file.merge(by_id);
  if (by_file.empty()) return not_found();
  if (by_file.size() > 1) {
    return Fail(Code::kInvalidArgument,
                fmt::format("{} snapshots begin with {}", by_file.size(), id),
                "SNAPSHOT_AMBIGUOUS");
  }
  return *by_file.begin()->second;
}

Result<void> RepositoryImpl::SaveSnapshot(SnapshotRecord& record) {
  ASSIGN(record.file, PutUnpacked(*store_, key_, FileType::kSnapshot, EncodeSnapshot(record), {}));
  Hold(record);
  return {};
}

Result<void> RepositoryImpl::RemoveFile(const Id& file) {
  TRY(store_->Remove(KeyOf(FileType::kSnapshot, file)));
  const std::lock_guard lock(mutex_);
  snapshots_.erase(file);
  return {};
}

Result<void> RepositoryImpl::RemoveSnapshot(const Id& file) {
  std::vector<Id> earlier;
  {
    const std::lock_guard lock(mutex_);
    const auto found = snapshots_.find(file);
    if (found != snapshots_.end()) {
      const SnapshotRecord& record = found->second.record;
      for (const auto& [other, held] : snapshots_) {
        if (other == file || !SameSnapshot(held.record, record)) continue;
        // Not the one that counts: it goes alone.
        if (IsLaterEdition(held.record, record)) {
          earlier.clear();
          break;
        }
        earlier.push_back(other);
      }
    }
  }
  // The one that counts goes last: none of the others comes back in its place.
  for (const Id& other : earlier) TRY(RemoveFile(other));
  return RemoveFile(file);
}

Result<SnapshotRecord> RepositoryImpl::Retag(const SnapshotRecord& record,
                                             std::vector<std::string> tags) {
  // One at a time: nobody makes an edition of what is none any more.
  const std::lock_guard turn(edit_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (!snapshots_.contains(record.file)) {
      return Fail(Code::kUnavailable,
                  fmt::format("the snapshot {} was changed meanwhile", record.id().Short()),
                  "SNAPSHOT_CHANGED");
    }
  }
  SnapshotRecord edition = record;
  edition.original = record.id();
  const Time now = Now();
  const uint64_t nanos =
      (static_cast<uint64_t>(std::max<int64_t>(now.seconds, 0)) * 1'000'000'000) + now.nanos;
  // Later than the one before it, whatever the clock says.
  edition.tags = WithEdition(std::move(tags), std::max(nanos, record.decoded_tags().edition + 1));
  TRY(SaveSnapshot(edition));
  TRY(RemoveFile(record.file));
  return edition;
}

}  // namespace atl::repository
