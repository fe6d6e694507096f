// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "snapshot/browse.h"
#include "snapshot/restore_piecewise.h"
#include "snapshot/restore_stager.h"
#include "snapshot/restore_trees.h"
#include "snapshot/restore_verify.h"
#include "snapshot/restore_world.h"

namespace atl::snapshot {

namespace {

using protocol::Change;
using protocol::ChangeKind;

// Where from: an absolute path in the snapshot's tree, or a path inside the directory that the
// snapshot was taken of. Where to: an absolute path.
struct Ends {
  std::string from;
  std::string to;
};

Result<repository::Node> FindRoot(RestoreWorld& world, const repository::SnapshotRecord& snapshot,
                                  const std::string& from, const std::stop_token& stop) {
  if (from.starts_with('/')) return FindDirectory(world.trees, snapshot, from);
  ASSIGN(repository::Node node, FindNode(world.repository, snapshot, from, stop));
  if (node.type != repository::NodeType::kDirectory) {
    return Fail(Code::kInvalidArgument,
                fmt::format("in snapshot {}, {} is no directory", snapshot.id().Short(), from),
                "NOT_A_DIRECTORY");
  }
  return node;
}

Result<Ends> FindEnds(const repository::SnapshotRecord& snapshot, const RestoreOptions& options) {
  Ends ends{.from = options.from_dir, .to = options.to_dir};
  bool absolute = ends.from.starts_with('/');
  if (ends.to.empty() && absolute) ends.to = ends.from;
  if (ends.to.empty()) {
    ASSIGN(ends.to, TakenAt(snapshot));
    if (!ends.from.empty()) ends.to += (ends.to == "/" ? "" : "/") + ends.from;
  }
  for (const std::string& path : {absolute ? ends.from : ends.to, ends.to}) {
    if (!IsNormalPath(path)) {
      return Fail(Code::kInvalidArgument, fmt::format("'{}' is no absolute, normal path", path));
    }
  }
  for (const std::string& path : options.keep) {
    if (!IsNormalPath(path)) {
      return Fail(Code::kInvalidArgument, fmt::format("'{}' is no absolute, normal path", path));
    }
  }
  return ends;
}

// A stop token that counts only for a while.
class Obedience {
 public:
  Obedience(std::stop_token outer, std::stop_source& inner)
      : outer_(std::move(outer)), inner_(inner) {
    Set(true);
  }
  void Set(bool obey) {
    if (!obey) {
      link_.reset();
    } else if (!link_) {
      link_.emplace(outer_, [this] { inner_.request_stop(); });
    }
  }

 private:
  std::stop_token outer_;
  std::stop_source& inner_;
  std::optional<std::stop_callback<std::function<void()>>> link_;
};

Result<Plan> MakePlan(RestoreWorld& world, const repository::Node& root) {
  world.meter.Begin("plan");
  Planner planner(world.repository, world.trees, world.kept, world.options, world.result);
  TRY(planner.Begin(root));
  std::stop_token stop = world.stop.get_token();
  TRY(world.tree.Walk(
      {.dir = world.dir, .exclude = world.options.keep},
      [&](const protocol::TreeRecord& record) -> Result<void> {
        world.meter.Done(1, 0);
        return planner.OnRecord(record);
      },
      stop));
  TRY(planner.EndWalk());
  TRY(world.trees.WaitLocked());
  world.meter.End();
  if (!planner.candidates().empty()) {
    world.meter.Begin("compare", planner.candidates().size());
    TRY(CompareCandidates(world.repository, world.tree, world.dir, planner.candidates(),
                          world.workers, stop));
    world.meter.End();
  }
  return planner.Finish();
}

std::vector<Change> ChangesOf(Plan& plan) {
  std::vector<Change> changes;
  changes.reserve(plan.items.size() + plan.directories.size());
  uint64_t number = 0;
  // Items go as they are taken over: there may be a million.
  for (; !plan.items.empty(); plan.items.pop_front()) {
    PlanItem& item = plan.items.front();
    Change change{.path = std::move(item.path)};
    if (item.kind == PlanItem::Kind::kPut) {
      change.kind = ChangeKind::kPut;
      change.staged = StagedName(number++);
    } else if (item.kind == PlanItem::Kind::kRemove) {
      change.kind = ChangeKind::kRemove;
    } else {
      change.kind = ChangeKind::kMeta;
      change.meta = MetaOf(item.node);
    }
    changes.push_back(std::move(change));
  }
  for (PlanDirectory& directory : plan.directories) {
    changes.push_back({.kind = ChangeKind::kMeta,
                       .path = std::move(directory.path),
                       .meta = std::move(directory.meta)});
  }
  return changes;
}

Result<void> StagePlan(RestoreWorld& world, Stage& stage, const Plan& plan) {
  world.meter.Begin("stage", plan.put_files, plan.put_bytes);
  Stager stager(world, stage);
  uint64_t number = 0;
  for (const PlanItem& item : plan.items) {
    if (item.kind != PlanItem::Kind::kPut) continue;
    TRY(stager.Add(item.path, StagedName(number++), item.node));
  }
  TRY(stager.Finish());
  world.meter.End();
  return {};
}

Result<void> Execute(RestoreWorld& world, std::unique_ptr<Stage> stage, Plan plan) {
  if (plan.items.empty() && plan.directories.empty()) return {};
  bool room =
      plan.need_bytes == 0 || stage->free_bytes() >= plan.need_bytes + plan.need_bytes / 100;
  if (room) {
    auto staged = StagePlan(world, *stage, plan);
    if (staged) {
      world.result.files_written = plan.put_files;
      world.result.bytes_written = plan.put_bytes;
      // Metadata alone needs nobody to stand still.
      bool moves = std::ranges::any_of(
          plan.items, [](const PlanItem& item) { return item.kind != PlanItem::Kind::kMeta; });
      std::vector<Change> changes = ChangesOf(plan);
      return CommitChanges(world, std::move(stage), changes, moves);
    }
    if (!IsNoSpace(staged.error())) return staged;
  }
  stage.reset();
  return RestorePiecewise(world, plan);
}

Result<void> Run(repository::Repository& repository, const repository::SnapshotRecord& snapshot,
                 AgentTree& tree, const RestoreOptions& options, RestoreResult& result) {
  ASSIGN(Ends ends, FindEnds(snapshot, options));
  result.dir = ends.to;
  KeptPaths kept(ends.to, options.keep);
  if (kept.all()) return {};
  std::stop_source stop;
  Obedience obedience(options.stop, stop);
  SnapshotTrees trees(repository, stop.get_token());
  RestoreMeter meter(options.on_progress, result);
  int workers = options.workers;
  if (workers <= 0) workers = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  RestoreWorld world{.repository = repository,
                     .trees = trees,
                     .tree = tree,
                     .kept = kept,
                     .options = options,
                     .result = result,
                     .meter = meter,
                     .dir = ends.to,
                     .workers = workers,
                     .stop = stop,
                     .obey_stop = [&](bool obey) { obedience.Set(obey); }};
  ASSIGN(repository::Node root, FindRoot(world, snapshot, ends.from, stop.get_token()));
  // Before the walk: settles what an earlier restore left, and keeps others away.
  ASSIGN(auto stage, tree.BeginRestore(ends.to, stop.get_token()));
  ASSIGN(Plan plan, MakePlan(world, root));
  result.phases.emplace_back("lock", trees.lock_ms());
  return Execute(world, std::move(stage), std::move(plan));
}

}  // namespace

Result<RestoreResult> Restore(repository::Repository& repository,
                              const repository::SnapshotRecord& snapshot, AgentTree& tree,
                              const RestoreOptions& options) {
  auto begin = std::chrono::steady_clock::now();
  RestoreResult result;
  auto done = Run(repository, snapshot, tree, options, result);
  result.duration_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (options.partial) *options.partial = result;
  if (!done) {
    return std::unexpected(std::move(done).error().Wrap(
        fmt::format("cannot restore snapshot {}", snapshot.id().Short())));
  }
  return result;
}

}  // namespace atl::snapshot
