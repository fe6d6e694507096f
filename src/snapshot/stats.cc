// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "repository/names.h"
#include "snapshot/maintenance.h"
#include "snapshot/pack_facts.h"

namespace atl::snapshot {
namespace {

using repository::Id;

// How much the files below trees have; each tree is read once.
class TreeSizes {
 public:
  TreeSizes(repository::Repository& repository, const std::stop_token& stop)
      : repository_(repository), stop_(stop) {}

  Result<uint64_t> Of(const Id& root) {
    std::vector<Open> open;
    if (!sizes_.contains(root)) TRY(Push(root, open));
    while (!open.empty()) {
      if (open.back().subtrees.empty()) {
        const Open done = std::move(open.back());
        open.pop_back();
        sizes_.emplace(done.tree, done.bytes);
        continue;
      }
      const Id next = open.back().subtrees.back();
      const auto known = sizes_.find(next);
      if (known == sizes_.end()) {
        TRY(Push(next, open));
        continue;
      }
      open.back().bytes += known->second;
      open.back().subtrees.pop_back();
    }
    return sizes_.at(root);
  }

 private:
  struct Open {
    Id tree;
    uint64_t bytes = 0;
    std::vector<Id> subtrees;  // to be added
  };

  Result<void> Push(const Id& tree, std::vector<Open>& open) {
    Open next{.tree = tree};
    TRY(repository_.ForEachNode(
        tree,
        [&](const repository::Node& node) -> Result<void> {
          if (node.type == repository::NodeType::kFile) next.bytes += node.size;
          if (node.type == repository::NodeType::kDirectory) next.subtrees.push_back(node.subtree);
          return {};
        },
        stop_));
    open.push_back(std::move(next));
    return {};
  }

  repository::Repository& repository_;
  const std::stop_token stop_;
  std::unordered_map<Id, uint64_t, repository::IdHash> sizes_;
};

}  // namespace

Result<Stats> CollectStats(repository::Repository& repository, std::stop_token stop) {
  TRY(repository.Refresh(stop));
  Stats stats;
  for (const auto& [id, facts] : CollectPacks(repository)) {
    ++stats.packs;
    stats.blobs += facts.blobs;
    stats.stored_bytes += facts.size();
    stats.plain_bytes += facts.plain_bytes;
  }
  TreeSizes sizes(repository, stop);
  std::set<std::string> sandboxes;
  for (const repository::SnapshotRecord& record : repository.Snapshots()) {
    ++stats.snapshots;
    std::string sandbox = record.decoded_tags().sandbox;
    if (!sandbox.empty()) sandboxes.insert(std::move(sandbox));
    // Older versions of restic do not write down how much it was.
    if (record.summary) {
      stats.restored_bytes += record.summary->total_bytes_processed;
    } else {
      ASSIGN(const uint64_t bytes, sizes.Of(record.tree));
      stats.restored_bytes += bytes;
    }
  }
  stats.sandboxes = sandboxes.size();
  ASSIGN(const auto files,
         repository.store().List(
             {.prefix = PrefixOf(repository::FileType::kIndex), .start_after = {}}, stop));
  for (const blob::Entry& entry : files) {
    if (repository::ParseKey(entry.key)) ++stats.index_files;
  }
  return stats;
}

}  // namespace atl::snapshot
