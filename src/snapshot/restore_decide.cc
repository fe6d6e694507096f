// SPDX-License-Identifier: Apache-2.0
// What becomes of the planner's decisions: items of the plan, and files that wait for a comparison.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "snapshot/restore_plan.h"
#include "snapshot/restore_verify.h"

namespace atl::snapshot {

namespace {

using repository::Node;
using repository::NodeType;

// What a file system allots at least.
constexpr uint64_t kBlock = 4096;
// A file that may have holes.
constexpr uint64_t kWorthHoles = 1U << 20U;

bool IsUnmakeable(NodeType type) {
  return type == NodeType::kSocket || type == NodeType::kDevice || type == NodeType::kCharDevice;
}

}  // namespace

bool IsLinked(const Node& node) {
  return node.type == NodeType::kFile && node.links > 1 && node.inode != 0;
}

LinkKey LinkKeyOf(const Node& node) {
  std::string ids;
  for (const repository::Id& id : node.content) ids.append(id.bytes.begin(), id.bytes.end());
  return {.inode = node.inode, .size = node.size, .content = repository::Hash(ids)};
}

Result<void> Planner::Put(std::string path, const Node& node) {
  if (IsUnmakeable(node.type)) {
    ++result_.special_skipped;
    return {};
  }
  if (node.type == NodeType::kDirectory) {
    TRY(CountTree(path, node, static_cast<int>(levels_.size())));
  } else {
    TRY(CheckContent(repository_, node, path));
    CountFile(node);
    CountPut(node);
  }
  AddPut(std::move(path), node.Clone());
  return {};
}

Result<void> Planner::CountTree(const std::string& path, const Node& node, int depth) {
  if (depth > kMaxTreeDepth) {
    return Fail(Code::kInternal, fmt::format("/{}: the snapshot's tree is too deep", path),
                "REPOSITORY_CORRUPT");
  }
  plan_.need_bytes += kBlock;
  return trees_.ForEach(node.subtree, [&](const Node& child) -> Result<void> {
    std::string child_path = fmt::format("{}/{}", path, child.name);
    TRY(CountEntry(child_path));
    if (kept_.Covers(child_path)) return {};
    if (child.type == NodeType::kDirectory) return CountTree(child_path, child, depth + 1);
    if (IsUnmakeable(child.type)) {
      ++result_.special_skipped;
      return {};
    }
    TRY(CheckContent(repository_, child, child_path));
    CountFile(child);
    bool first = true;
    if (IsLinked(child)) first = !std::exchange(GroupOf(child).new_members, true);
    if (first) {
      CountPut(child);
    } else {
      ++plan_.put_files;
    }
    return {};
  });
}

void Planner::CountFile(const Node& node) {
  ++result_.files;
  if (node.type == NodeType::kFile) result_.bytes_total += node.size;
}

void Planner::CountPut(const Node& node) {
  ++plan_.put_files;
  if (node.type != NodeType::kFile) return;
  plan_.put_bytes += node.size;
  // Zeros take no room.
  uint64_t zeros = 0;
  for (const repository::Id& id : node.content) {
    if (node.size < kWorthHoles) break;
    auto found = repository_.Find({repository::BlobType::kData, id});
    if (found && IsZeroBlob(found->blob)) zeros += found->blob.PlainLength();
  }
  uint64_t data = node.size - std::min(zeros, node.size);
  plan_.need_bytes += (data + kBlock - 1) / kBlock * kBlock;
}

void Planner::AddPut(std::string path, Node node) {
  Touch(path);
  plan_.items.push_back(
      {.kind = PlanItem::Kind::kPut, .path = std::move(path), .node = std::move(node)});
}

void Planner::Keep(std::string path, const Node& node, bool meta_differs) {
  ++result_.files_kept;
  if (!meta_differs) return;
  plan_.items.push_back(
      {.kind = PlanItem::Kind::kMeta, .path = std::move(path), .node = node.Clone()});
}

void Planner::Remove(std::string path) {
  ++result_.removed;
  Touch(path);
  plan_.items.push_back({.kind = PlanItem::Kind::kRemove, .path = std::move(path)});
}

Planner::LinkGroup& Planner::GroupOf(const Node& node) { return groups_[LinkKeyOf(node)]; }

void Planner::AddCandidate(Candidate candidate) {
  if (!IsLinked(candidate.node)) {
    candidates_.push_back(std::move(candidate));
    return;
  }
  ++group_members_;
  CountFile(candidate.node);
  LinkGroup& group = GroupOf(candidate.node);
  // One that has to be read is among the candidates, and here with its place there.
  if (candidate.state == Candidate::State::kUnknown) {
    group.unknown.push_back(candidates_.size());
    candidates_.push_back(std::move(candidate));
  } else {
    group.members.push_back(std::move(candidate));
  }
}

// Names of one file stay only when all of them are there and are one file.
void Planner::FinishGroup(LinkGroup& group) {
  for (size_t place : group.unknown) group.members.push_back(std::move(candidates_[place]));
  if (group.members.empty()) return;
  uint64_t inode = group.members.front().inode;
  bool keep = !group.new_members;
  for (const Candidate& member : group.members) {
    keep = keep && member.state == Candidate::State::kSame && member.inode == inode;
  }
  keep = keep && linked_inodes_.insert(inode).second;
  bool counted = group.new_members;
  for (Candidate& member : group.members) {
    if (keep) {
      Keep(std::move(member.path), member.node, member.meta_differs);
      continue;
    }
    if (std::exchange(counted, true)) {
      ++plan_.put_files;
    } else {
      CountPut(member.node);
    }
    AddPut(std::move(member.path), std::move(member.node));
  }
}

Plan Planner::Finish() {
  for (Candidate& candidate : candidates_) {
    if (IsLinked(candidate.node)) continue;
    if (candidate.state == Candidate::State::kSame) {
      Keep(std::move(candidate.path), candidate.node, candidate.meta_differs);
    } else {
      CountPut(candidate.node);
      AddPut(std::move(candidate.path), std::move(candidate.node));
    }
  }
  for (auto& [key, group] : groups_) FinishGroup(group);
  groups_.clear();
  candidates_.clear();
  for (Directory& directory : directories_) {
    if (directory.differs || touched_.contains(directory.directory.path)) {
      plan_.directories.push_back(std::move(directory.directory));
    }
  }
  return std::move(plan_);
}

}  // namespace atl::snapshot
