// SPDX-License-Identifier: Apache-2.0
#include "snapshot/prune_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "repository/names.h"
#include "snapshot/pack_facts.h"

namespace atl::snapshot {
namespace {

using repository::FileType;
using repository::Id;
using repository::PackedBlob;

constexpr int64_t kDayMs = 24LL * 3600 * 1000;
// Fewer small packs and index files than this are not worth a lock.
constexpr size_t kMany = 20;
constexpr uint64_t kSmallPack = repository::kPackBytes / 4;
// A pack of many tiny blobs is full although it is small.
constexpr uint32_t kManyBlobs = 2'500;
// About what an index file names.
constexpr uint64_t kIndexBlobs = 50'000;

struct PackState {
  PackFacts facts;
  uint64_t used_bytes = 0;
  uint32_t used_blobs = 0;
  bool sound = false;  // it is in the store, and as long as the index says
  bool moved = false;  // what was needed of it has been stored again
  bool preferred() const { return sound && !moved; }
  uint64_t unused_bytes() const { return facts.blob_bytes - used_bytes; }
  bool small() const { return facts.size() < kSmallPack && facts.blobs < kManyBlobs; }
  bool mixed() const { return facts.data && facts.trees; }
};
using States = std::unordered_map<Id, PackState, repository::IdHash>;

// restic's, of a writer that was killed: data/ab/<id>-tmp-<digits>
bool IsTemporary(std::string_view key) {
  const size_t at = key.rfind("-tmp-");
  return at != std::string_view::npos && repository::ParseKey(key.substr(0, at)) &&
         key.substr(at + 5).find_first_not_of("0123456789") == std::string_view::npos;
}

// Of a blob that several packs have one counts as used: where more is used already, and in a pack
// that has been moved only when no other has it.
Result<void> CountUsed(const repository::Repository& repository, const UsedBlobs& used,
                       States& states) {
  std::vector<uint8_t> copies(used.size());
  std::vector<bool> in_moved(used.size());
  repository.ForEachBlob([&](const Id& pack, const PackedBlob& blob) {
    const auto number = used.Find(blob.handle);
    if (!number) return;
    const PackState& state = states[pack];
    if (state.preferred() && copies[*number] < 2) ++copies[*number];
    if (state.sound && state.moved) in_moved[*number] = true;
  });
  std::optional<std::pair<Id, Id>> lost;
  std::vector<bool> kept(used.size());
  const auto keep = [&](PackState& state, const PackedBlob& blob, uint32_t number) {
    kept[number] = true;
    state.used_bytes += blob.length;
    ++state.used_blobs;
  };
  repository.ForEachBlob([&](const Id& pack, const PackedBlob& blob) {
    const auto number = used.Find(blob.handle);
    if (!number) return;
    if (copies[*number] == 0 && !in_moved[*number]) lost = {blob.handle.id, pack};
    PackState& state = states[pack];
    if (copies[*number] == 1 && state.preferred() && !kept[*number]) keep(state, blob, *number);
  });
  if (lost) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("nothing is removed: blob {} is needed, but pack {} is missing or not "
                            "as long as the index says",
                            lost->first.Short(), lost->second.Short()),
                "PACK_MISSING");
  }
  enum class Where { kUsedAlready, kAnywhere, kInMoved };
  for (const Where where : {Where::kUsedAlready, Where::kAnywhere, Where::kInMoved}) {
    repository.ForEachBlob([&](const Id& pack, const PackedBlob& blob) {
      const auto number = used.Find(blob.handle);
      if (!number || kept[*number]) return;
      PackState& state = states[pack];
      if (where == Where::kInMoved
              ? state.sound
              : state.preferred() && (where == Where::kAnywhere || state.used_blobs > 0)) {
        keep(state, blob, *number);
      }
    });
  }
  return {};
}

class Chooser {
 public:
  explicit Chooser(States& states) : states_(states) {}

  // Without rules: only what nothing needs.
  PrunePlan Choose(const PlanRules* rules) {
    for (auto& [id, state] : states_) {
      if (state.used_blobs == 0) {
        Leave(id, state);
      } else {
        staying_.emplace_back(id, &state);
        used_ += state.used_bytes;
        unused_ += state.unused_bytes();
      }
    }
    if (rules != nullptr) {
      ChooseByWaste(*rules);
      MergeSmall(*rules);
    }
    plan_.unused_bytes_left = unused_;
    return std::move(plan_);
  }

 private:
  using Staying = std::pair<Id, const PackState*>;

  void Leave(const Id& id, const PackState& state) {
    plan_.leaving.push_back(id);
    if (state.sound) plan_.leaving_bytes += state.facts.size();
    plan_.leaving_blobs += state.facts.blobs;
  }
  bool HasRoom(const PlanRules& rules, const Staying& pack) const {
    return plan_.repack.empty() ||
           repack_bytes_ + pack.second->used_bytes <= rules.max_repack_bytes;
  }
  void Repack(const Staying& pack) {
    Leave(pack.first, *pack.second);
    plan_.repack.insert(pack.first);
    repack_bytes_ += pack.second->used_bytes;
    unused_ -= pack.second->unused_bytes();
  }
  // Those with the largest unused share first: least is written for what becomes free.
  void ChooseByWaste(const PlanRules& rules) {
    const auto share = [](const Staying& pack) {
      return static_cast<double>(pack.second->unused_bytes()) /
             static_cast<double>(pack.second->facts.blob_bytes);
    };
    std::ranges::sort(staying_, [&](const Staying& a, const Staying& b) {
      return share(a) != share(b) ? share(a) > share(b) : a.first < b.first;
    });
    size_t taken = 0;
    for (; taken < staying_.size() && unused_ > 0; ++taken) {
      const double limit = rules.max_unused * static_cast<double>(used_ + unused_);
      if (static_cast<double>(unused_) <= limit || !HasRoom(rules, staying_[taken])) break;
      Repack(staying_[taken]);
    }
    staying_.erase(staying_.begin(), staying_.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  void MergeSmall(const PlanRules& rules) {
    const auto small =
        std::ranges::count_if(staying_, [](const Staying& pack) { return pack.second->small(); });
    const bool many = static_cast<size_t>(small) > kMany;
    for (const Staying& pack : staying_) {
      // Packs of both kinds, as short sessions leave them, go along when there is work anyway.
      const bool goes_along = pack.second->mixed() && !plan_.repack.empty();
      if (((many && pack.second->small()) || goes_along) && HasRoom(rules, pack)) Repack(pack);
    }
  }

  States& states_;
  PrunePlan plan_;
  std::vector<Staying> staying_;
  uint64_t used_ = 0;
  uint64_t unused_ = 0;
  uint64_t repack_bytes_ = 0;
};

Result<PrunePlan> MakePlan(const repository::Repository& repository, const UsedBlobs& used,
                           const StoreListing& listing, const PackSet& moved,
                           const PlanRules* rules) {
  States states;
  repository.ForEachBlob(
      [&](const Id& pack, const PackedBlob& blob) { states[pack].facts.Add(blob); });
  for (auto& [id, state] : states) {
    const auto found = listing.packs.find(id);
    state.sound = found != listing.packs.end() && found->second == state.facts.size() &&
                  state.facts.blob_bytes == state.facts.end;
    state.moved = moved.contains(id);
  }
  TRY(CountUsed(repository, used, states));
  PrunePlan plan = Chooser(states).Choose(rules);
  for (const Id& pack : listing.old_packs) {
    if (!states.contains(pack)) plan.orphans.push_back(pack);
  }
  const uint64_t needed_files = (repository.blob_count() / kIndexBlobs) + 1;
  plan.merge_index = listing.index_files > kMany && listing.index_files > 2 * needed_files;
  return plan;
}

}  // namespace

Result<StoreListing> ListForPrune(blob::Store& store, const std::string& prefix,
                                  int64_t now_seconds, std::stop_token stop) {
  ASSIGN(const auto entries, store.List({.prefix = prefix, .start_after = {}}, std::move(stop)));
  StoreListing listing;
  for (const blob::Entry& entry : entries) {
    // Where the store does not say when, it stays.
    const bool old = entry.modified_ms > 0 && now_seconds * 1000 - entry.modified_ms > kDayMs;
    if (const auto archive = repository::ParseArchiveKey(entry.key)) {
      listing.archives.push_back(*archive);
      continue;
    }
    const auto parsed = repository::ParseKey(entry.key);
    if (!parsed) {
      if (old && IsTemporary(entry.key)) listing.temporaries.push_back(entry.key);
      continue;
    }
    if (parsed->type == FileType::kIndex) ++listing.index_files;
    if (parsed->type != FileType::kData) continue;
    listing.packs.emplace(parsed->id, entry.size);
    if (old) listing.old_packs.push_back(parsed->id);
  }
  return listing;
}

Result<PrunePlan> MakePlan(const repository::Repository& repository, const UsedBlobs& used,
                           const StoreListing& listing, const PlanRules& rules) {
  return MakePlan(repository, used, listing, {}, &rules);
}

Result<PrunePlan> MakeFinalPlan(const repository::Repository& repository, const UsedBlobs& used,
                                const StoreListing& listing, const PackSet& moved) {
  return MakePlan(repository, used, listing, moved, nullptr);
}

}  // namespace atl::snapshot
