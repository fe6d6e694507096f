// SPDX-License-Identifier: Apache-2.0
// What has to change in a directory so that it holds what a snapshot says.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "protocol/tree.h"
#include "repository/repository.h"
#include "snapshot/restore.h"
#include "snapshot/restore_trees.h"

namespace atl::snapshot {

protocol::EntryMeta MetaOf(const repository::Node& node);
// Several names of one file, as far as a node can say.
bool IsLinked(const repository::Node& node);
// Names with equal keys are names of one file.
struct LinkKey {
  uint64_t inode = 0;
  uint64_t size = 0;
  repository::Id content;  // a hash of its blobs' ids
  auto operator<=>(const LinkKey&) const = default;
};
LinkKey LinkKeyOf(const repository::Node& node);

// One change. Paths are relative to the target.
struct PlanItem {
  enum class Kind : uint8_t { kPut, kRemove, kMeta } kind = Kind::kPut;
  std::string path;
  repository::Node node;  // of a directory that is put: with all that its subtree holds
};

// A directory that both sides have: its times are set again once what it holds has changed.
struct PlanDirectory {
  std::string path;
  protocol::EntryMeta meta;
};

struct Plan {
  std::deque<PlanItem> items;
  std::vector<PlanDirectory> directories;  // deepest first, the target itself last
  uint64_t put_files = 0;                  // entries to be written, directories not counted
  uint64_t put_bytes = 0;                  // their contents
  uint64_t need_bytes = 0;                 // room that they take, about
};

// Paths below the target, relative to it, that a restore must not touch.
class KeptPaths {
 public:
  KeptPaths(const std::string& target, const std::vector<std::string>& keep);
  // At or below a kept one.
  bool Covers(std::string_view path) const;
  // A kept one is below.
  bool Below(std::string_view path) const;
  bool all() const { return all_; }

 private:
  std::set<std::string, std::less<>> kept_;
  bool all_ = false;
};

// A file that may already be what it has to be: its content is compared (restore_verify.h), or it
// is one of several hard links.
struct Candidate {
  std::string path;
  repository::Node node;
  enum class State : uint8_t { kSame, kUnknown, kDifferent } state = State::kUnknown;
  bool meta_differs = false;
  uint64_t inode = 0;  // of what is in place; 0: nothing
};

// Merges the walk of the target with the trees of a snapshot, both sorted.
class Planner {
 public:
  Planner(repository::Repository& repository, SnapshotTrees& trees, const KeptPaths& kept,
          const RestoreOptions& options, RestoreResult& result)
      : repository_(repository),
        trees_(trees),
        kept_(kept),
        mode_(options.mode),
        known_(options.known),
        result_(result) {}

  Result<void> Begin(const repository::Node& root);
  Result<void> OnRecord(const protocol::TreeRecord& record);
  // The walk is over. What it left unknown is in `candidates`.
  Result<void> EndWalk();
  std::vector<Candidate>& candidates() { return candidates_; }
  // With all candidates compared.
  Plan Finish();

 private:
  struct Level {
    enum class Kind : uint8_t { kMerge, kDiscard, kIgnore } kind = Kind::kMerge;
    std::string path;
    std::unique_ptr<NodeStream> nodes;        // null: the snapshot has no such directory
    std::optional<protocol::EntryMeta> meta;  // null: stays as it is
    bool differs = false;
    size_t pending = 0;  // files to be compared or linked that were known when it was entered
  };
  struct LinkGroup {
    bool new_members = false;  // in directories that the target does not have
    std::vector<Candidate> members;
    std::vector<size_t> unknown;  // more members: places in candidates_
  };

  Result<void> OnEntry(const protocol::TreeEntry& entry);
  Result<void> OnSkipped(const protocol::SkippedEntry& entry);
  Result<void> OnLeave();
  // Nodes before `name` are missing in the target; the node of that name, or null. Empty: all.
  Result<const repository::Node*> Advance(Level& level, std::string_view name);
  Result<void> Missing(const Level& level, const repository::Node& node);
  Result<void> Extra(std::string path, const protocol::TreeEntry& entry);
  Result<void> Compare(std::string path, const repository::Node& node,
                       const protocol::TreeEntry& entry);
  Result<void> CompareFile(std::string path, const repository::Node& node,
                           const protocol::TreeEntry& entry);
  Result<void> EnterBoth(std::string path, const repository::Node& node,
                         const protocol::TreeEntry& entry);
  Result<void> Put(std::string path, const repository::Node& node);
  Result<void> CountTree(const std::string& path, const repository::Node& node, int depth);
  void CountFile(const repository::Node& node);
  void CountPut(const repository::Node& node);
  void AddPut(std::string path, repository::Node node);
  void Keep(std::string path, const repository::Node& node, bool meta_differs);
  void Remove(std::string path);
  void Enter(Level::Kind kind) { levels_.push_back({.kind = kind}); }
  void Touch(std::string_view path);  // its directory gets new entries or loses some
  Result<void> CountEntry(const std::string& path);
  LinkGroup& GroupOf(const repository::Node& node);
  void AddCandidate(Candidate candidate);
  void FinishGroup(LinkGroup& group);

  repository::Repository& repository_;
  SnapshotTrees& trees_;
  const KeptPaths& kept_;
  RestoreOptions::Mode mode_;
  KnownFilesStore::Table known_;
  RestoreResult& result_;
  std::vector<Level> levels_;
  bool seen_root_ = false;
  uint64_t entries_ = 0;
  Plan plan_;
  struct Directory {
    PlanDirectory directory;
    bool differs = false;
  };
  std::vector<Directory> directories_;
  std::unordered_set<std::string> touched_;
  std::vector<Candidate> candidates_;
  std::map<LinkKey, LinkGroup> groups_;
  size_t group_members_ = 0;
  std::unordered_set<uint64_t> linked_inodes_;
};

// The plaintext lengths of a file's blobs, as the index says; REPOSITORY_CORRUPT when they do not
// make up its size, BLOB_MISSING when the index lacks one.
Result<void> CheckContent(const repository::Repository& repository, const repository::Node& node,
                          std::string_view path);

}  // namespace atl::snapshot
