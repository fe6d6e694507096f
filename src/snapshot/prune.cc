// SPDX-License-Identifier: Apache-2.0
// Removes what no snapshot needs. Whenever it is killed, what snapshots need is there: what moves
// is stored and indexed, under the shared lock, before the index forgets where it was, under the
// exclusive one, and that before packs are removed.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <unordered_set>
#include <utility>

#include "repository/lock_owner.h"
#include "repository/names.h"
#include "repository/parallel.h"
#include "snapshot/maintenance.h"
#include "snapshot/prune_plan.h"

namespace atl::snapshot {
namespace {

using repository::Id;

constexpr size_t kRemovers = 8;
// Written again by one prune: the rest is for the next ones.
constexpr uint64_t kMaxRepack = 512ULL << 20U;

class Pruning {
 public:
  Pruning(repository::Repository& repository, const PruneOptions& options)
      : repository_(repository), store_(repository.store()), options_(options) {}

  Result<PruneResult> Run() {
    // Listed before the snapshots are: whose archive is there was there itself.
    ASSIGN(StoreListing listing, List(""));
    TRY(Look());
    TRY(RemoveArchives(listing.archives));
    TRY(RemoveKeys(listing.temporaries));
    ASSIGN(PrunePlan plan, MakePlan(repository_, *used_, listing, Rules()));
    result_.bytes_unused = plan.unused_bytes_left;
    if (plan.empty()) return result_;
    const PackSet moved = plan.repack;
    ASSIGN(const Repacked repacked, Move(plan));

    Progress("lock", 0);
    ASSIGN(const auto lock, repository_.LockExclusive(options_.stop));
    // What came meanwhile may need what nothing needed before.
    TRY(Usable());
    TRY(Mark());
    ASSIGN(StoreListing packs, List(PrefixOf(repository::FileType::kData)));
    packs.index_files = listing.index_files;
    ASSIGN(plan, MakeFinalPlan(repository_, *used_, packs, moved));
    if (!lock->valid()) {
      return Fail(Code::kUnavailable, "the repository's lock was lost; nothing was removed");
    }
    if (!plan.leaving.empty() || plan.merge_index) {
      Progress("index", 0);
      TRY(repository_.ReplaceIndex(plan.leaving, options_.stop));
    }
    TRY(RemoveOrphans(plan, packs));
    Count(plan, moved, repacked);
    return result_;
  }

 private:
  PlanRules Rules() const {
    PlanRules rules{.max_unused = options_.max_unused};
    if (options_.max_unused > 0) rules.max_repack_bytes = kMaxRepack;
    return rules;
  }
  // Only adds packs and what names them: beside snapshots that are being taken, which may take
  // long. Whether it was right to is decided by the second look.
  Result<Repacked> Move(const PrunePlan& plan) {
    if (plan.repack.empty()) return Repacked();
    ASSIGN(const auto lock, repository_.LockShared(options_.stop));
    ASSIGN(const Repacked repacked,
           Repack(repository_, *used_, plan.leaving, Phase("repack"), options_.stop));
    if (lock->valid()) return repacked;
    return Fail(Code::kUnavailable, "the repository's lock was lost; nothing was removed");
  }

  void Progress(std::string_view phase, double done) const {
    if (options_.on_progress) options_.on_progress(phase, done);
  }
  std::function<void(double)> Phase(std::string_view phase) const {
    return [this, phase](double done) { Progress(phase, done); };
  }
  Result<StoreListing> List(const std::string& prefix) {
    return ListForPrune(store_, prefix, repository::Now().seconds, options_.stop);
  }

  // What cannot be read may need anything.
  Result<void> Usable() const {
    const auto problems = repository_.problems();
    if (problems.empty()) return {};
    return Fail(Code::kFailedPrecondition, "nothing is removed: " + problems.front(),
                "REPOSITORY_DAMAGED");
  }
  Result<void> Mark() {
    const auto snapshots = repository_.Snapshots();
    return MarkUsed(
        repository_, snapshots, *used_,
        [](Error error) -> Result<void> {
          return Unexpected(std::move(error).Wrap("nothing is removed"));
        },
        Phase("trees"), options_.stop);
  }
  // Without a lock. What another process has moved meanwhile is found at the second look.
  Result<void> Look() {
    for (int attempt = 0;; ++attempt) {
      TRY(repository_.Refresh(options_.stop));
      TRY(Usable());
      used_ = std::make_unique<UsedBlobs>();
      auto marked = Mark();
      if (marked || attempt > 0 || options_.stop.stop_requested()) return marked;
    }
  }

  Result<void> RemoveKeys(const std::vector<std::string>& keys) {
    return repository::ForEachParallel(
        store_.remote() ? kRemovers : 1, std::span<const std::string>(keys),
        [&](const std::string& key) { return store_.Remove(key, options_.stop); });
  }
  Result<void> RemoveArchives(const std::vector<Id>& archives) {
    if (archives.empty()) return {};
    std::unordered_set<Id, repository::IdHash> there;
    for (const auto& record : repository_.Snapshots()) {
      there.insert(record.id());
      there.insert(record.file);
    }
    std::vector<std::string> keys;
    for (const Id& id : archives) {
      if (!there.contains(id)) keys.push_back(repository::ArchiveKey(id));
    }
    return RemoveKeys(keys);
  }
  Result<void> RemoveOrphans(const PrunePlan& plan, const StoreListing& listing) {
    Progress("remove", 0);
    std::vector<std::string> keys;
    for (const Id& pack : plan.orphans) {
      keys.push_back(KeyOf(repository::FileType::kData, pack));
      result_.bytes_freed += listing.packs.at(pack);
    }
    return RemoveKeys(keys);
  }

  void Count(const PrunePlan& plan, const PackSet& moved, const Repacked& repacked) {
    result_.packs_repacked = static_cast<uint64_t>(
        std::ranges::count_if(plan.leaving, [&](const Id& id) { return moved.contains(id); }));
    result_.packs_removed = plan.leaving.size() - result_.packs_repacked + plan.orphans.size();
    result_.bytes_freed += plan.leaving_bytes - std::min(plan.leaving_bytes, repacked.bytes);
    result_.blobs_removed = plan.leaving_blobs - std::min(plan.leaving_blobs, repacked.blobs);
    result_.bytes_unused = plan.unused_bytes_left;
  }

  repository::Repository& repository_;
  blob::Store& store_;
  const PruneOptions& options_;
  std::unique_ptr<UsedBlobs> used_;
  PruneResult result_;
};

}  // namespace

Result<PruneResult> Prune(repository::Repository& repository, const PruneOptions& options) {
  return Pruning(repository, options).Run();
}

}  // namespace atl::snapshot
