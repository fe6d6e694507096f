// SPDX-License-Identifier: Apache-2.0
// The snapshots of a repository.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "repository/repository_impl.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

constexpr size_t kMinPrefix = 8;

bool IsHexPrefix(std::string_view id) {
  return id.size() >= kMinPrefix && id.size() <= 64 &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

void RepositoryImpl::Hold(const SnapshotRecord& record) {
  const std::lock_guard lock(mutex_);
  snapshots_.insert_or_assign(record.file,
                              HeldSnapshot{.record = record, .generation = ++generation_});
}

std::vector<SnapshotRecord> RepositoryImpl::Snapshots() const {
  std::vector<SnapshotRecord> records;
  {
    const std::lock_guard lock(mutex_);
    records.reserve(snapshots_.size());
    for (const auto& [file, held] : snapshots_) records.push_back(held.record);
  }
  std::sort(records.begin(), records.end(), [](const SnapshotRecord& a, const SnapshotRecord& b) {
    return a.time != b.time ? a.time < b.time : a.file < b.file;
  });
  return records;
}

Result<SnapshotRecord> RepositoryImpl::FindSnapshot(std::string_view id) const {
  const auto not_found = [&] {
    return Fail(Code::kNotFound, fmt::format("there is no snapshot {}", id.substr(0, 64)),
                "BACKUP_NOT_FOUND");
  };
  if (!IsHexPrefix(id)) return not_found();
  // Of several editions, which a Retag that was cut short may leave, a later one: it has
  // `original`.
  std::map<Id, SnapshotRecord> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [file, held] : snapshots_) {
    const SnapshotRecord& record = held.record;
    if (!file.Hex().starts_with(id) && !record.id().Hex().starts_with(id)) continue;
    const auto [at, added] = found.try_emplace(record.id(), record);
    if (!added && (!at->second.original || (record.original && at->second.file < record.file))) {
      at->second = record;
    }
  }
  if (found.empty()) return not_found();
  if (found.size() > 1) {
    return Fail(Code::kInvalidArgument, fmt::format("{} snapshots begin with {}", found.size(), id),
                "SNAPSHOT_AMBIGUOUS");
  }
  return std::move(found.begin()->second);
}

Result<void> RepositoryImpl::SaveSnapshot(SnapshotRecord& record) {
  ASSIGN(record.file, PutUnpacked(*store_, key_, FileType::kSnapshot, EncodeSnapshot(record), {}));
  Hold(record);
  return {};
}

Result<void> RepositoryImpl::RemoveSnapshot(const Id& file) {
  TRY(store_->Remove(KeyOf(FileType::kSnapshot, file)));
  const std::lock_guard lock(mutex_);
  snapshots_.erase(file);
  return {};
}

Result<SnapshotRecord> RepositoryImpl::Retag(const SnapshotRecord& record,
                                             std::vector<std::string> tags) {
  SnapshotRecord edition = record;
  edition.original = record.id();
  edition.tags = std::move(tags);
  TRY(SaveSnapshot(edition));
  if (edition.file != record.file) TRY(RemoveSnapshot(record.file));
  return edition;
}

}  // namespace atl::repository
