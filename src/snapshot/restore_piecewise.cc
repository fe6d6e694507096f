// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_piecewise.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "snapshot/restore_stager.h"

namespace atl::snapshot {

namespace {

using protocol::Change;
using protocol::ChangeKind;
using repository::Node;
using repository::NodeType;

constexpr uint64_t kMaxBatch = 64U << 20U;
constexpr uint64_t kMinBatch = 256U << 10U;
constexpr size_t kMaxBatchFiles = 4096;
constexpr size_t kMaxFailures = 100;
// How long the stage that was given up may take to go.
constexpr auto kBusyPatience = std::chrono::seconds(30);

// One file under all its names.
struct FileUnit {
  std::vector<std::string> paths;
  Node node;
};

class Piecewise {
 public:
  Piecewise(RestoreWorld& world, const Plan& plan) : world_(world), plan_(plan) {}

  Result<void> Run() {
    TRY(Removals());
    TRY(Directories());
    world_.meter.Begin("stage", plan_.put_files, plan_.put_bytes);
    TRY(Files());
    TRY(Metadata());
    return Verdict();
  }

 private:
  Result<std::unique_ptr<Stage>> Begin() {
    auto deadline = std::chrono::steady_clock::now() + kBusyPatience;
    while (true) {
      auto stage = world_.tree.BeginRestore(world_.dir, world_.stop.get_token());
      if (stage) {
        free_ = (*stage)->free_bytes();
        return stage;
      }
      if (stage.error().reason != "RESOURCE_BUSY" || std::chrono::steady_clock::now() > deadline) {
        return stage;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  Result<void> Removals() {
    std::vector<Change> changes;
    for (const PlanItem& item : plan_.items) {
      if (item.kind != PlanItem::Kind::kRemove) continue;
      changes.push_back({.kind = ChangeKind::kRemove, .path = item.path});
    }
    if (changes.empty()) return {};
    ASSIGN(auto stage, Begin());
    return CommitChanges(world_, std::move(stage), changes, true);
  }

  // New directories without their files, and all that takes no room.
  Result<void> Directories() {
    std::vector<Change> changes;
    ASSIGN(auto stage, Begin());
    {
      Stager stager(world_, *stage, true);
      for (const PlanItem& item : plan_.items) {
        if (item.kind != PlanItem::Kind::kPut || item.node.type == NodeType::kFile) continue;
        std::string staged = StagedName(changes.size());
        TRY(stager.Add(item.path, staged, item.node));
        changes.push_back({.kind = ChangeKind::kPut, .path = item.path, .staged = staged});
      }
      TRY(stager.Finish());
    }
    if (changes.empty()) return {};
    return CommitChanges(world_, std::move(stage), changes, true);
  }

  Result<void> Files() {
    for (const PlanItem& item : plan_.items) {
      if (item.kind != PlanItem::Kind::kPut) continue;
      if (item.node.type == NodeType::kFile) TRY(AddFile(item.path, item.node));
      if (item.node.type == NodeType::kDirectory) TRY(AddTree(item.path, item.node));
    }
    TRY(Flush());
    for (auto& [key, unit] : linked_) TRY(AddUnit(std::move(unit)));
    return Flush();
  }

  Result<void> AddTree(const std::string& path, const Node& node) {
    return world_.trees.ForEach(node.subtree, [&](const Node& child) -> Result<void> {
      std::string child_path = fmt::format("{}/{}", path, child.name);
      if (world_.kept.Covers(child_path)) return {};
      if (child.type == NodeType::kDirectory) return AddTree(child_path, child);
      if (child.type == NodeType::kFile) return AddFile(child_path, child);
      return {};
    });
  }

  Result<void> AddFile(const std::string& path, const Node& node) {
    if (!IsLinked(node)) return AddUnit({.paths = {path}, .node = node.Clone()});
    // All names of a file change place together.
    auto [unit, added] = linked_.try_emplace(LinkKeyOf(node));
    if (added) unit->second.node = node.Clone();
    unit->second.paths.push_back(path);
    return {};
  }

  Result<void> AddUnit(FileUnit unit) {
    uint64_t limit = std::clamp(free_ / 2, kMinBatch, kMaxBatch);
    uint64_t size = unit.node.size + 4096;
    if (!batch_.empty() && (bytes_ + size > limit || batch_.size() >= kMaxBatchFiles)) {
      TRY(Flush());
    }
    bytes_ += size;
    batch_.push_back(std::move(unit));
    return {};
  }

  Result<void> Flush() {
    if (batch_.empty()) return {};
    std::vector<FileUnit> batch = std::exchange(batch_, {});
    bytes_ = 0;
    auto done = Write(batch);
    if (done || !IsOfOneFile(done.error())) return done;
    if (batch.size() == 1) {
      Failed(batch.front(), done.error());
      return {};
    }
    for (FileUnit& unit : batch) {
      auto one = Write({&unit, 1});
      if (one) continue;
      if (!IsOfOneFile(one.error())) return one;
      Failed(unit, one.error());
    }
    return {};
  }

  Result<void> Write(std::span<FileUnit> units) {
    std::vector<Change> changes;
    ASSIGN(auto stage, Begin());
    {
      Stager stager(world_, *stage);
      for (const FileUnit& unit : units) {
        for (const std::string& path : unit.paths) {
          std::string staged = StagedName(changes.size());
          TRY(stager.Add(path, staged, unit.node));
          changes.push_back({.kind = ChangeKind::kPut, .path = path, .staged = staged});
        }
      }
      TRY(stager.Finish());
    }
    TRY(CommitChanges(world_, std::move(stage), changes, true));
    for (const FileUnit& unit : units) {
      world_.result.files_written += unit.paths.size();
      world_.result.bytes_written += unit.node.size;
    }
    return {};
  }

  // Others are in the way of every file.
  static bool IsOfOneFile(const Error& error) {
    return IsNoSpace(error) || error.reason == "REPOSITORY_CORRUPT" ||
           error.reason == "BLOB_MISSING" || error.reason == "CIPHERTEXT_CORRUPT";
  }

  void Failed(const FileUnit& unit, const Error& error) {
    for (const std::string& path : unit.paths) {
      ++world_.result.failure_count;
      if (world_.result.failures.size() >= kMaxFailures) continue;
      world_.result.failures.push_back({.path = path, .message = error.message});
    }
  }

  Result<void> Metadata() {
    std::vector<Change> changes;
    for (const PlanItem& item : plan_.items) {
      if (item.kind == PlanItem::Kind::kMeta) {
        changes.push_back(
            {.kind = ChangeKind::kMeta, .path = item.path, .meta = MetaOf(item.node)});
      } else if (item.kind == PlanItem::Kind::kPut && item.node.type == NodeType::kDirectory) {
        TRY(TreeMetadata(item.path, item.node, changes));
      }
    }
    for (const PlanDirectory& directory : plan_.directories) {
      changes.push_back(
          {.kind = ChangeKind::kMeta, .path = directory.path, .meta = directory.meta});
    }
    if (changes.empty()) return {};
    ASSIGN(auto stage, Begin());
    return CommitChanges(world_, std::move(stage), changes, false);
  }

  Result<void> TreeMetadata(const std::string& path, const Node& node,
                            std::vector<Change>& changes) {
    TRY(world_.trees.ForEach(node.subtree, [&](const Node& child) -> Result<void> {
      std::string child_path = fmt::format("{}/{}", path, child.name);
      if (child.type != NodeType::kDirectory || world_.kept.Covers(child_path)) return {};
      return TreeMetadata(child_path, child, changes);
    }));
    changes.push_back({.kind = ChangeKind::kMeta, .path = path, .meta = MetaOf(node)});
    return {};
  }

  Result<void> Verdict() const {
    const RestoreResult& result = world_.result;
    if (result.failure_count == 0) return {};
    std::string message =
        fmt::format("{}: {} of {} files could not be restored, the rest was:", world_.dir,
                    result.failure_count, result.files);
    for (size_t i = 0; i < std::min<size_t>(result.failures.size(), 5); ++i) {
      message += fmt::format("{} {} ({})", i == 0 ? "" : ",", result.failures[i].path,
                             result.failures[i].message);
    }
    if (result.failure_count > 5) message += ", …";
    return Fail(Code::kResourceExhausted, std::move(message), "RESTORE_INCOMPLETE");
  }

  RestoreWorld& world_;
  const Plan& plan_;
  uint64_t free_ = 0;  // when the last step began
  std::vector<FileUnit> batch_;
  uint64_t bytes_ = 0;
  std::map<LinkKey, FileUnit> linked_;
};

}  // namespace

Result<void> RestorePiecewise(RestoreWorld& world, const Plan& plan) {
  world.result.piecewise = true;
  return Piecewise(world, plan).Run();
}

}  // namespace atl::snapshot
