// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <variant>

namespace atl::snapshot {

namespace {

using protocol::TreeEntry;
using repository::Node;

// Where an agent keeps what is being restored; never part of what a directory holds.
bool IsAgentsOwn(std::string_view name) {
  return name.starts_with(".atoll-restore-") || name.starts_with(".atoll-ready-") ||
         name.starts_with(".atoll-old-");
}

bool IsDirectory(const TreeEntry& entry) { return S_ISDIR(entry.meta.mode); }

std::string Join(const std::string& dir, std::string_view name) {
  return dir.empty() ? std::string(name) : fmt::format("{}/{}", dir, name);
}

Unexpected Corrupt(std::string message) {
  return Fail(Code::kInternal, std::move(message), "REPOSITORY_CORRUPT");
}

}  // namespace

KeptPaths::KeptPaths(const std::string& target, const std::vector<std::string>& keep) {
  std::string prefix = target == "/" ? target : target + "/";
  for (const std::string& path : keep) {
    if (path == target || (path + "/") == prefix || target.starts_with(path + "/")) all_ = true;
    if (path.starts_with(prefix) && path.size() > prefix.size()) {
      kept_.insert(path.substr(prefix.size()));
    }
  }
}

bool KeptPaths::Covers(std::string_view path) const {
  if (kept_.empty()) return false;
  for (size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
    if (kept_.contains(path.substr(0, end))) return true;
  }
  return kept_.contains(path);
}

bool KeptPaths::Below(std::string_view path) const {
  if (path.empty() || kept_.empty()) return !kept_.empty();
  const std::string prefix = std::string(path) + "/";
  const auto first = kept_.lower_bound(prefix);
  return first != kept_.end() && first->starts_with(prefix);
}

Result<void> Planner::Begin(const Node& root) {
  ASSIGN(auto nodes, trees_.Open(root.subtree));
  Level level{.nodes = std::move(nodes)};
  // The root directory of a snapshot has no node of its own.
  if (!root.name.empty()) level.meta = MetaOf(root);
  levels_.push_back(std::move(level));
  return {};
}

Result<void> Planner::OnRecord(const protocol::TreeRecord& record) {
  if (const auto* entry = std::get_if<TreeEntry>(&record)) return OnEntry(*entry);
  if (const auto* skipped = std::get_if<protocol::SkippedEntry>(&record)) {
    return OnSkipped(*skipped);
  }
  return OnLeave();
}

Result<void> Planner::OnEntry(const TreeEntry& entry) {
  if (!seen_root_) {
    seen_root_ = true;
    Level& root = levels_.front();
    root.differs = root.meta && root.meta != entry.meta;
    return {};
  }
  if (levels_.empty()) return Fail(Code::kBadGateway, "the agent's walk goes on behind its end");
  Level& level = levels_.back();
  if (level.kind != Level::Kind::kMerge) {
    if (level.kind == Level::Kind::kDiscard) ++result_.removed;
    if (IsDirectory(entry)) Enter(level.kind);
    return {};
  }
  if (levels_.size() == 1 && IsAgentsOwn(entry.name)) {
    if (IsDirectory(entry)) Enter(Level::Kind::kIgnore);
    return {};
  }
  std::string path = Join(level.path, entry.name);
  ASSIGN(const Node* node, Advance(level, entry.name));
  if (!node) return Extra(std::move(path), entry);
  NodeStream* nodes = level.nodes.get();
  TRY(CountEntry(path));
  TRY(Compare(std::move(path), *node, entry));
  nodes->Pop();
  return {};
}

// What vanished meanwhile is missing; anything else cannot be looked at, so that it is not known
// what it would be replaced by: a mount point, a directory too deep.
Result<void> Planner::OnSkipped(const protocol::SkippedEntry& entry) {
  if (levels_.empty() || levels_.back().kind != Level::Kind::kMerge) return {};
  if (entry.sys_errno == ENOENT) return {};
  Level& level = levels_.back();
  ASSIGN(const Node* node, Advance(level, entry.name));
  if (node) level.nodes->Pop();
  return {};
}

Result<const Node*> Planner::Advance(Level& level, std::string_view name) {
  if (!level.nodes) return nullptr;
  while (true) {
    ASSIGN(const Node* node, level.nodes->Peek());
    if (!node) return nullptr;
    if (!name.empty() && node->name == name) return node;
    if (!name.empty() && std::string_view(node->name) > name) return nullptr;
    TRY(CountEntry(level.path));
    if (!level.path.empty() || !IsAgentsOwn(node->name)) TRY(Missing(level, *node));
    level.nodes->Pop();
  }
}

Result<void> Planner::OnLeave() {
  if (levels_.empty())
    return Fail(Code::kBadGateway, "the agent's walk leaves what it never entered");
  if (levels_.back().kind == Level::Kind::kMerge) {
    Level& level = levels_.back();
    TRY(Advance(level, ""));
    bool pending = candidates_.size() + group_members_ != level.pending;
    if (level.meta && (level.differs || pending || touched_.contains(level.path))) {
      directories_.push_back(
          {.directory = {.path = std::move(level.path), .meta = *std::move(level.meta)},
           .differs = level.differs});
    }
  }
  levels_.pop_back();
  return {};
}

Result<void> Planner::EndWalk() {
  if (!seen_root_) return Fail(Code::kBadGateway, "the agent's walk was empty");
  while (!levels_.empty()) TRY(OnLeave());
  return {};
}

Result<void> Planner::CountEntry(const std::string& path) {
  if (++entries_ <= kMaxTreeEntries) return {};
  return Corrupt(fmt::format("/{}: the snapshot has more than {} entries", path, kMaxTreeEntries));
}

void Planner::Touch(std::string_view path) {
  size_t slash = path.rfind('/');
  touched_.emplace(slash == std::string_view::npos ? "" : path.substr(0, slash));
}

}  // namespace atl::snapshot
