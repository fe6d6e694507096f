// SPDX-License-Identifier: Apache-2.0
#include "cli/stale_locks.h"

#include <fmt/format.h>

#include "blob/files.h"
#include "daemon/open_vault.h"
#include "oci/trash.h"
#include "repository/listing.h"
#include "repository/lock_owner.h"
#include "repository/records.h"
#include "repository/repository.h"
#include "repository/unpacked.h"

namespace atl::cli {
namespace {

constexpr size_t kMostLockBytes = 64U << 10U;

}  // namespace

Result<std::vector<std::string>> FindStaleLocks(const daemon::Config& config) {
  std::vector<std::string> paths;
  const daemon::SnapshotConfig& snapshots = config.snapshots;
  std::string locks = snapshots.dir + "/locks";
  // The key costs a good part of a second: not for nothing.
  if (snapshots.remote || oci::NamesIn(locks).empty()) return paths;
  repository::Options options = daemon::RepositoryOptions(snapshots);
  auto password = daemon::SnapshotPassword(snapshots, false);
  if (!password) return paths;
  options.password = *std::move(password);
  ASSIGN(auto store, blob::OpenFiles(snapshots.dir));
  ASSIGN(auto repository, repository::Repository::Open(store, std::move(options)));
  ASSIGN(auto listed, repository::ListLocks(*store, {}));
  for (const repository::ListedLock& lock : listed) {
    auto json = repository::LoadUnpacked(*store, repository->key(), repository::FileType::kLock,
                                         lock.id, kMostLockBytes, {});
    // Gone by now, or of no form that says whose it is.
    if (!json) continue;
    auto record = repository::DecodeLock(*json);
    if (record && !record->hostname.empty() && repository::OwnerIsGone(lock.id, *record)) {
      paths.push_back(fmt::format("{}/{}", locks, lock.id.Hex()));
    }
  }
  return paths;
}

}  // namespace atl::cli
