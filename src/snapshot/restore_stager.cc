// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_stager.h"

#include <fmt/format.h>

#include <utility>

namespace atl::snapshot {

namespace {

using repository::Node;
using repository::NodeType;

std::string Join(const std::string& dir, std::string_view name) {
  return fmt::format("{}/{}", dir, name);
}

}  // namespace

Stager::Stager(RestoreWorld& world, Stage& stage, bool skeleton)
    : world_(world),
      stage_(stage),
      skeleton_(skeleton),
      files_(world.repository, stage, world.workers, world.stop.get_token(),
             [this](uint64_t files, uint64_t bytes) { world_.meter.Done(files, bytes); }) {}

Result<StageWriter*> Stager::Writer() {
  if (!writer_) {
    ASSIGN(writer_, stage_.OpenWriter());
  }
  return writer_.get();
}

Result<void> Stager::FinishWriter() {
  if (!writer_) return {};
  TRY(writer_->Finish());
  writer_.reset();
  return {};
}

Result<void> Stager::RunFiles() {
  if (files_.empty()) return {};
  // Other connections need the directories.
  TRY(FinishWriter());
  return files_.Run();
}

Result<void> Stager::Add(const std::string& path, const std::string& staged, const Node& node) {
  if (node.type == NodeType::kFile) return AddFile(path, staged, node);
  if (node.type != NodeType::kDirectory) return AddSpecial(staged, node);
  if (!skeleton_) {
    tops_.push_back({.path = path, .staged = staged, .tree = node.subtree, .meta = MetaOf(node)});
  }
  return AddTree(path, staged, node, 1);
}

Result<void> Stager::AddTree(const std::string& path, const std::string& staged, const Node& node,
                             int depth) {
  if (depth > kMaxTreeDepth) {
    return Fail(Code::kInternal, fmt::format("{}: the snapshot's tree is too deep", path),
                "REPOSITORY_CORRUPT");
  }
  if (world_.stop.stop_requested()) return Fail(Code::kCancelled, "the restore was given up");
  ASSIGN(StageWriter * writer, Writer());
  TRY(writer->Dir({.path = staged}));
  return world_.trees.ForEach(node.subtree, [&](const Node& child) -> Result<void> {
    std::string child_path = Join(path, child.name);
    if (world_.kept.Covers(child_path)) return {};
    std::string child_staged = Join(staged, child.name);
    if (child.type == NodeType::kDirectory) {
      return AddTree(child_path, child_staged, child, depth + 1);
    }
    if (child.type != NodeType::kFile) return AddSpecial(child_staged, child);
    if (skeleton_) return {};
    return AddFile(child_path, child_staged, child);
  });
}

Result<void> Stager::AddFile(const std::string& path, const std::string& staged, const Node& node) {
  if (IsLinked(node)) {
    auto [first, added] = linked_.try_emplace(LinkKeyOf(node), staged);
    if (!added) {
      links_.push_back({.staged = staged, .to = first->second});
      return {};
    }
  }
  files_.Add({.staged = staged,
              .path = path,
              .size = node.size,
              .meta = MetaOf(node),
              .content = node.content});
  return files_.full() ? RunFiles() : Result<void>();
}

Result<void> Stager::AddSpecial(const std::string& staged, const Node& node) {
  if (node.type != NodeType::kSymlink && node.type != NodeType::kFifo) return {};
  ASSIGN(StageWriter * writer, Writer());
  TRY(writer->Special(
      {.path = staged, .link_target = std::string(node.link_target()), .meta = MetaOf(node)}));
  world_.meter.Done(1, 0);
  return {};
}

Result<void> Stager::Finish() {
  TRY(RunFiles());
  TRY(files_.Finish());
  for (const Link& link : links_) {
    ASSIGN(StageWriter * writer, Writer());
    TRY(writer->Special({.path = link.staged, .hard_link_to = link.to}));
    world_.meter.Done(1, 0);
  }
  for (Top& top : tops_) TRY(SetMeta(top.path, top.staged, top.tree, std::move(top.meta)));
  return FinishWriter();
}

// Children first: what is made inside changes a directory's times.
Result<void> Stager::SetMeta(const std::string& path, const std::string& staged,
                             const repository::Id& tree, protocol::EntryMeta meta) {
  TRY(world_.trees.ForEach(tree, [&](const Node& child) -> Result<void> {
    if (child.type != NodeType::kDirectory) return {};
    std::string child_path = Join(path, child.name);
    if (world_.kept.Covers(child_path)) return {};
    return SetMeta(child_path, Join(staged, child.name), child.subtree, MetaOf(child));
  }));
  ASSIGN(StageWriter * writer, Writer());
  return writer->Meta({.path = staged, .meta = std::move(meta)});
}

}  // namespace atl::snapshot
