// SPDX-License-Identifier: Apache-2.0
#include "snapshot/backup.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <ranges>
#include <string_view>
#include <thread>
#include <utility>

#include "snapshot/backup_inbox.h"
#include "snapshot/file_pipeline.h"
#include "snapshot/first_error.h"
#include "snapshot/freezer.h"
#include "snapshot/left_out.h"
#include "snapshot/parent_tree.h"
#include "snapshot/tree_builder.h"

namespace atl::snapshot {

using repository::Id;
using repository::Node;
using repository::Repository;
using repository::SnapshotRecord;
using repository::Time;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kProgressEvery{100};
constexpr uint64_t kAnswersAtOnce = 64;

Time Now() {
  auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count();
  return {.seconds = nanos / 1'000'000'000, .nanos = static_cast<uint32_t>(nanos % 1'000'000'000)};
}

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

Result<void> StillLocked(const repository::Lock& lock) {
  if (lock.valid()) return {};
  return Fail(Code::kUnavailable, "the lock of the repository could not be kept",
              "REPOSITORY_LOCK_LOST");
}

// One snapshot from start to end. Threads: this one (lock, then trees), one for the walk, those of
// the pipeline.
class Run {
 public:
  Run(Repository& repository, AgentTree& tree, const BackupOptions& options)
      : repository_(repository),
        tree_(tree),
        options_(options),
        errors_(options.stop),
        freezer_(options.freeze) {}

  Result<BackupResult> Do() {
    auto result = Try();
    if (result) return result;
    if (options_.stop.stop_requested()) {
      return Fail(Code::kCancelled, "the snapshot of " + options_.dir + " was given up");
    }
    Error error = errors_.Or(std::move(result).error());
    return Unexpected(std::move(error).Wrap("cannot take a snapshot of " + options_.dir));
  }

 private:
  Result<BackupResult> Try();
  Result<void> LockAndMerge(std::jthread& walk, std::unique_ptr<repository::Lock>& lock,
                            std::unique_ptr<repository::Session>& session);
  Result<void> Merge(repository::Session& session, std::optional<Parent> parent);
  Result<void> Drain(TreeBuilder& builder, FilePipeline& pipeline);
  Result<void> StoreAbove(repository::Session& session);
  Result<void> SaveRecord(repository::Session& session, const repository::Lock& lock);
  Result<bool> KeepParent(const repository::Lock& lock);
  KnownFilesStore& Known() {
    return options_.known != nullptr ? *options_.known : KnownFilesStore::OfProcess();
  }
  std::string Owner() const { return KnownOwner(repository_, options_.tags.sandbox); }
  void Walk();
  void EndPhase(std::string_view name);
  void Report(std::string_view phase, bool now);

  Repository& repository_;
  AgentTree& tree_;
  const BackupOptions& options_;
  FirstError errors_;
  Freezer freezer_;  // outlives all that could need the sandbox

  std::atomic<bool> frozen_ = false;  // until all was read

  BackupInbox inbox_;
  std::optional<SnapshotRecord> parent_;
  BackupResult result_;
  std::vector<KnownFile> known_;
  repository::Summary summary_;
  Id root_;  // first of the directory itself, then of its whole path
  Node directory_node_;
  Clock::time_point phase_began_ = Clock::now();
  Clock::time_point reported_{};
  Progress progress_;
};

void Run::Report(std::string_view phase, bool now) {
  if (!options_.on_progress) return;
  auto time = Clock::now();
  if (!now && time - reported_ < kProgressEvery) return;
  reported_ = time;
  progress_.phase = phase;
  options_.on_progress(progress_);
}

void Run::EndPhase(std::string_view name) {
  auto now = Clock::now();
  result_.phases.emplace_back(name, Milliseconds(now - phase_began_));
  phase_began_ = now;
  Report(name, true);
}

void Run::Walk() {
  auto put = [this](protocol::TreeRecord record) -> Result<void> {
    if (!inbox_.PutRecord(std::move(record), errors_.token())) return errors_.Cancelled();
    return {};
  };
  auto ended = tree_.Walk({.dir = options_.dir, .exclude = options_.exclude}, put, errors_.token());
  if (!ended) {
    errors_.Set(std::move(ended).error());
  } else {
    inbox_.EndWalk(errors_.token());
  }
}

Result<BackupResult> Run::Try() {
  auto began = Clock::now();
  uint64_t requests = repository_.store().requests();
  phase_began_ = began;
  std::unique_ptr<repository::Lock> lock;
  std::unique_ptr<repository::Session> session;
  {
    std::jthread walk;
    auto merged = LockAndMerge(walk, lock, session);
    if (!merged) {
      errors_.Set(merged.error());
      return Unexpected(std::move(merged).error());
    }
  }
  if (errors_.stopped()) return errors_.Cancelled();
  TRY(StoreAbove(*session));
  TRY(SaveRecord(*session, *lock));
  Known().Put(Owner(), options_.dir, std::make_shared<const KnownFiles>(std::move(known_)));
  session.reset();
  lock.reset();
  EndPhase("store");
  result_.freeze_ms = freezer_.held_ms();
  result_.duration_ms = Milliseconds(Clock::now() - began);
  result_.store_requests = repository_.store().requests() - requests;
  return std::move(result_);
}

Result<void> Run::LockAndMerge(std::jthread& walk, std::unique_ptr<repository::Lock>& lock,
                               std::unique_ptr<repository::Session>& session) {
  summary_.backup_start = Now();
  // The pause is for the walk and for what is read: it does not begin before all else is there.
  if (!freezer_) walk = std::jthread([this] { Walk(); });
  Report("lock", true);
  ASSIGN(lock, repository_.LockShared(errors_.token()));
  EndPhase("lock");
  ASSIGN(std::optional<Parent> parent,
         FindParent(repository_, options_.tags, options_.dir, errors_.token()));
  if (parent) parent_ = parent->record;
  ASSIGN(session, repository_.Begin(errors_.token()));
  if (freezer_) {
    TRY(freezer_.Freeze());
    summary_.backup_start = Now();
    walk = std::jthread([this] { Walk(); });
  }
  return Merge(*session, std::move(parent));
}

// Walk and files become the tree of the directory.
Result<void> Run::Merge(repository::Session& session, std::optional<Parent> parent) {
  size_t workers = options_.workers > 0 ? static_cast<size_t>(options_.workers)
                                        : std::max(1U, std::thread::hardware_concurrency());
  auto all_read = [this] {
    frozen_ = freezer_ && (!options_.stayed_frozen || options_.stayed_frozen());
    auto thawed = freezer_.Thaw();
    if (!thawed) errors_.Set(std::move(thawed).error().Wrap("cannot let the sandbox go on"));
  };
  FilePipeline pipeline(
      tree_, repository_, session, errors_,
      {.dir = options_.dir,
       .workers = workers,
       .on_answer = [this](FileAnswer answer) { inbox_.PutAnswer(std::move(answer)); },
       .on_all_read = all_read});
  TreeBuilder builder(
      repository_, session, std::move(parent),
      {.read = [&](std::vector<FileGroup> groups) { pipeline.Read(std::move(groups)); },
       .stop = errors_.token(),
       .known = Known().Get(Owner(), options_.dir),
       .begin = summary_.backup_start});
  auto drained = Drain(builder, pipeline);
  if (!drained) {
    // Before the pipeline is waited for: its threads stop.
    errors_.Set(drained.error());
    return drained;
  }

  auto phases = std::move(result_.phases);
  result_ = builder.result();
  known_ = builder.TakeKnown();
  result_.phases = std::move(phases);
  repository::Time start = summary_.backup_start;
  summary_ = builder.summary();
  summary_.backup_start = start;
  root_ = builder.tree();
  directory_node_ = builder.node().Clone();
  return {};
}

Result<void> Run::Drain(TreeBuilder& builder, FilePipeline& pipeline) {
  bool walked = false;
  while (!walked || !builder.done()) {
    bool want_records = !walked && !builder.Full();
    auto items = inbox_.Take(want_records, 1, errors_.token(), Clock::now());
    if (items.answers.empty() && items.records.empty() && !(want_records && items.walk_ended)) {
      // What was collected is read while nothing else is to be done.
      builder.SendBatch();
      items = inbox_.Take(want_records, std::min<uint64_t>(builder.waiting(), kAnswersAtOnce),
                          errors_.token(), Clock::now() + kProgressEvery);
    }
    if (errors_.stopped()) return errors_.Cancelled();
    for (FileAnswer& answer : items.answers) TRY(builder.OnAnswer(std::move(answer)));
    for (protocol::TreeRecord& record : items.records) TRY(builder.OnRecord(std::move(record)));
    if (want_records && items.walk_ended && !walked) {
      walked = true;
      builder.SendBatch();
      progress_.files_total = builder.entries_seen();
      progress_.bytes_total = builder.bytes_seen();
      EndPhase("walk");
      pipeline.NoMore();
    }
    if (walked && builder.waiting() == 0 && !builder.done()) {
      return Fail(Code::kBadGateway, "the agent's walk ended inside of a directory");
    }
    progress_.files_done =
        builder.entries_seen() - std::min(builder.entries_seen(), builder.waiting());
    progress_.bytes_done = builder.bytes_unchanged() + pipeline.bytes_read();
    if (walked) progress_.bytes_done = std::min(progress_.bytes_done, progress_.bytes_total);
    Report(walked ? "read" : "walk", false);
  }
  EndPhase("read");
  return {};
}

// Trees of the directories above: restic's snapshots hold whole paths.
Result<void> Run::StoreAbove(repository::Session& session) {
  std::vector<std::string> parts;
  for (auto part : std::views::split(options_.dir, '/')) {
    if (!part.empty()) parts.emplace_back(part.begin(), part.end());
  }
  Time mtime = directory_node_.mtime;
  Node node = std::move(directory_node_);
  NodeBudget budget;
  for (std::string& part : std::views::reverse(parts)) {
    node.name = std::move(part);
    node.subtree = root_;
    TreeWriter writer(repository_, session, budget);
    TRY(writer.Add(std::exchange(node, {})));
    ASSIGN(root_, writer.Finish());
    node.type = repository::NodeType::kDirectory;
    node.permissions = 0755;
    node.mtime = mtime;
  }
  return {};
}

// The parent stands for a snapshot of now: it lives about as long as that would. False: it is gone.
Result<bool> Run::KeepParent(const repository::Lock& lock) {
  while (!errors_.stopped()) {
    auto found = repository_.FindSnapshot(parent_->id().Hex());
    if (!found || found->tree != root_) return false;
    repository::Tags tags = found->decoded_tags();
    const std::optional<int64_t> wanted = options_.tags.expires_at;
    const int64_t now = Now().seconds;
    const bool lives = tags.pinned || !tags.expires_at ||
                       (wanted && *tags.expires_at - now >= (*wanted - now) / 2);
    if (lives) {
      result_.record = *std::move(found);
      return true;
    }
    TRY(StillLocked(lock));
    tags.expires_at = wanted;
    auto changed = repository_.Retag(*found, EncodeTags(tags));
    if (changed) {
      result_.record = *std::move(changed);
      return true;
    }
    if (changed.error().reason != "SNAPSHOT_CHANGED") return Unexpected(std::move(changed).error());
  }
  return errors_.Cancelled();
}

Result<void> Run::SaveRecord(repository::Session& session, const repository::Lock& lock) {
  if (options_.skip_if_unchanged && parent_ && parent_->tree == root_) {
    ASSIGN(result_.unchanged, KeepParent(lock));
    if (result_.unchanged) return {};
  }
  TRY(session.Flush());
  auto totals = session.totals();
  result_.bytes_added = totals.added_packed;
  summary_.data_blobs = totals.data_blobs;
  summary_.tree_blobs = totals.tree_blobs;
  summary_.data_added = totals.added;
  summary_.data_added_packed = totals.added_packed;
  summary_.total_files_processed = result_.files;
  summary_.total_bytes_processed = result_.bytes_total;
  summary_.backup_end = Now();

  SnapshotRecord& record = result_.record;
  record.time = summary_.backup_start;
  if (parent_) record.parent = parent_->file;
  record.tree = root_;
  record.paths = {options_.dir};
  // What is not in the snapshot although it was there is not taken for gone by a restore.
  record.excludes = options_.exclude;
  FitLeftOut(result_.left_out, options_.dir.size() + 1);
  for (const std::string& path : result_.left_out) {
    record.excludes.push_back(options_.dir + "/" + path);
  }
  record.hostname = options_.hostname.empty() ? HostName() : options_.hostname;
  record.username = "root";
  repository::Tags tags = options_.tags;
  tags.dir = options_.dir;
  tags.frozen = frozen_;
  record.tags = EncodeTags(tags);
  record.program_version = "atoll 0.1.0";
  record.summary = summary_;
  TRY(StillLocked(lock));
  if (errors_.stopped()) return errors_.Cancelled();
  return repository_.SaveSnapshot(record);
}

}  // namespace

std::string KnownOwner(const Repository& repository, const std::string& sandbox) {
  return repository.config().id + " " + sandbox;
}

Result<BackupResult> Backup(Repository& repository, AgentTree& tree, const BackupOptions& options) {
  return Run(repository, tree, options).Do();
}

}  // namespace atl::snapshot
