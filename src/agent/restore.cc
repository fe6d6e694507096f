// SPDX-License-Identifier: Apache-2.0
#include "agent/restore.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <new>
#include <optional>

#include "agent/commit.h"
#include "agent/dir_cache.h"
#include "agent/dir_lock.h"
#include "agent/entry_meta.h"
#include "agent/journal.h"
#include "agent/settle.h"
#include "agent/staging.h"
#include "agent/target_dir.h"
#include "agent/transfer_child.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

// Children that are killed one after the other are somebody's intention.
constexpr int kMaxFinishers = 5;
constexpr int kLockWaitMs = 10'000;
constexpr off_t kReserveBytes = 256 << 10;
constexpr off_t kReserveBytesPerChange = 64;

// How far a restore is, in memory that its child shares with the agent.
enum class Phase : int { kOpening, kUndecided, kDecided, kAnswered, kEnded };
struct Progress {
  std::atomic<Phase> phase = Phase::kOpening;
  timespec before{};       // the directory's time before there was a stage, from kUndecided on
  timespec after{};        // and what the changes make it, from kDecided on
  bool has_after = false;  // whether they do
};

struct UnmapProgress {
  void operator()(Progress* progress) const { munmap(progress, sizeof(Progress)); }
};
using ProgressPage = std::unique_ptr<Progress, UnmapProgress>;

Result<ProgressPage> MakeProgressPage() {
  void* page =
      mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return FailErrno(errno, "map shared memory");
  return ProgressPage(new (page) Progress);
}

// After a stage was removed: as if there had never been one.
void SetTimeBack(int root, const timespec& time) {
  std::array<timespec, 2> times{{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, time}};
  (void)futimens(root, times.data());
}

Unexpected InvalidChange(const std::string& why) {
  return Fail(Code::kInvalidArgument, "a change is not possible: " + why, "INVALID_FRAME");
}

// The changes that the client names, checked as far as that is possible before they are made, on
// their way into the journal.
class Planner {
 public:
  static Result<Planner> Create(int root, int staging) {
    ASSIGN(JournalWriter journal, JournalWriter::Create(staging));
    ASSIGN(sys::Fd staged, sys::OpenAt(staging, kStagedDir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return Planner(root, std::move(staged), std::move(journal));
  }

  Result<void> Add(protocol::Change change) {
    if (change.path.empty()) own_time_ = ToTimespec(change.meta.mtime);
    if (IsStagingName(std::string_view(change.path).substr(0, change.path.find('/')))) {
      return InvalidChange(change.path + " is a name of the agent's own");
    }
    JournalEntry entry{.change = std::move(change)};
    if (entry.change.kind != protocol::ChangeKind::kMeta) TRY(CheckTarget(entry.change.path));
    if (entry.change.kind == protocol::ChangeKind::kPut) TRY(FindStaged(&entry));
    return journal_.Add(entry);
  }

  // What the directory itself gets.
  const std::optional<timespec>& own_time() const { return own_time_; }

  Result<void> Finish(int staging) {
    ASSIGN(sys::Fd reserve,
           sys::OpenAt(staging, kReserveName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    off_t bytes = kReserveBytes + kReserveBytesPerChange * static_cast<off_t>(journal_.count());
    if (fallocate(reserve.get(), 0, 0, bytes) != 0 && errno != EOPNOTSUPP) {
      return FailErrno(errno, "reserve space for a restore");
    }
    return journal_.Finish();
  }

 private:
  Planner(int root, sys::Fd staged, JournalWriter journal)
      : staged_(std::move(staged)),
        sources_(staged_.get()),
        targets_(root),
        journal_(std::move(journal)) {}

  // A mount point can neither move nor be replaced.
  Result<void> CheckTarget(const std::string& path) {
    auto [dir, name] = SplitPath(path);
    auto target = targets_.Open(dir);
    if (!target && target.error().sys_errno == EXDEV) {
      return Fail(Code::kFailedPrecondition, path + " is on another file system");
    }
    struct statx info{};
    if (target &&
        statx(*target, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &info) ==
            0 &&
        (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
      return Fail(Code::kFailedPrecondition, path + " is a mount point");
    }
    return {};
  }

  Result<void> FindStaged(JournalEntry* entry) {
    const std::string& path = entry->change.staged;
    auto [dir, name] = SplitPath(path);
    auto source = sources_.Open(dir);
    struct stat st{};
    if (!source || fstatat(*source, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return InvalidChange("nothing is staged at " + path);
    }
    entry->inode = st.st_ino;
    entry->mode = st.st_mode;
    return {};
  }

  sys::Fd staged_;
  DirCache sources_;
  DirCache targets_;
  std::optional<timespec> own_time_;
  JournalWriter journal_;
};

class RestoreSession {
 public:
  RestoreSession(std::string dir, std::string id, Progress* progress, ClientLink* link)
      : dir_(std::move(dir)), id_(std::move(id)), progress_(progress), link_(link) {}

  Result<void> Run();

 private:
  Result<void> OpenAndStage();
  Result<void> TakeChanges();
  Result<void> CommitAndSweep();
  void Abandon();

  std::string dir_;
  std::string id_;
  Progress* progress_;
  ClientLink* link_;
  sys::Fd root_;
  std::optional<sys::Fd> lock_;
  sys::Fd staging_;
  std::unique_ptr<DecidedRestore> decided_;
};

Result<void> RestoreSession::Run() {
  umask(0);
  ASSIGN(auto made, MakeMissingDirs(dir_));
  auto staged = [&]() -> Result<void> {
    TRY(OpenAndStage());
    auto ready = [&]() -> Result<void> {
      TRY(TakeChanges());
      TRY(link_->Send(protocol::Ok{}));
      ASSIGN(auto frame, link_->Next());
      TRY(protocol::Expect<protocol::Commit>(frame));
      decided_ = std::make_unique<DecidedRestore>(dir_, id_);
      return Decide(root_.get(), id_);
    }();
    if (!ready) Abandon();
    return ready;
  }();
  if (!staged) {
    RemoveMadeDirs(made);
    return staged;
  }
  progress_->phase.store(Phase::kDecided);
  return CommitAndSweep();
}

Result<void> RestoreSession::OpenAndStage() {
  ASSIGN(root_, OpenTargetDir(dir_));
  ASSIGN(lock_, LockDir(root_.get()));
  if (!lock_) {
    return Fail(Code::kFailedPrecondition, "another restore of " + dir_ + " is running",
                "RESOURCE_BUSY");
  }
  auto settled = SettleRestores(root_.get());
  // What an earlier restore could not do does not keep this one from trying.
  if (!settled && ReasonOf(settled.error()) != "RESTORE_INCOMPLETE") return settled;
  Sweep(root_.get());
  struct stat st{};
  struct statvfs space{};
  if (fstat(root_.get(), &st) != 0 || fstatvfs(root_.get(), &space) != 0) {
    return FailErrno(errno, "stat " + dir_);
  }
  progress_->before = st.st_mtim;
  progress_->phase.store(Phase::kUndecided);
  ASSIGN(staging_, MakeStaging(root_.get(), id_));
  auto told = link_->Send(protocol::Staged{
      .stage = id_, .free_bytes = uint64_t{space.f_bavail} * uint64_t{space.f_frsize}});
  if (!told) Abandon();
  return told;
}

Result<void> RestoreSession::TakeChanges() {
  ASSIGN(Planner planner, Planner::Create(root_.get(), staging_.get()));
  while (true) {
    ASSIGN(auto frame, link_->Next());
    if (frame.type == FrameType::kTreeEnd) {
      progress_->has_after = planner.own_time().has_value();
      progress_->after = planner.own_time().value_or(timespec{});
      return planner.Finish(staging_.get());
    }
    if (frame.type != FrameType::kTree) return Unexpected(protocol::UnexpectedFrame(frame));
    protocol::RecordReader records(frame.payload);
    while (true) {
      ASSIGN(auto record, records.Next());
      if (!record) break;
      auto* change = std::get_if<protocol::Change>(&*record);
      if (change == nullptr) return InvalidChange("a record of another kind");
      TRY(planner.Add(std::move(*change)));
    }
  }
}

// From here on nothing depends on the client.
Result<void> RestoreSession::CommitAndSweep() {
  auto made = MakeChanges(root_.get(), id_);
  decided_.reset();
  if (made) {
    progress_->phase.store(Phase::kAnswered);
    (void)link_->Send(protocol::Ok{});
  }
  Sweep(root_.get());
  // Who hears of the end may begin the next one.
  lock_.reset();
  root_.Reset();
  ASSIGN(protocol::End end, std::move(made));
  return link_->Send(end);
}

void RestoreSession::Abandon() {
  staging_.Reset();
  SweepPrefixes(root_.get(), {kRestorePrefix});
  SetTimeBack(root_.get(), progress_->before);
}

bool Exists(int dir, const std::string& name) {
  struct stat st{};
  return fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

// Nothing when somebody else keeps it.
std::optional<sys::Fd> LockSoon(int root) {
  for (int waited = 0; waited < kLockWaitMs; waited += 10) {
    auto lock = LockDir(root);
    if (lock && *lock) return std::move(*lock);
    usleep(10'000);
  }
  return std::nullopt;
}

// After a child that was killed.
Result<void> FinishRestore(const std::string& dir, const std::string& id, Progress* progress,
                           ClientLink* link) {
  umask(0);
  ASSIGN(sys::Fd root, OpenTargetDir(dir));
  // Somebody may have made its changes already.
  bool decided = Exists(root.get(), StagingName(kReadyPrefix, id)) ||
                 Exists(root.get(), StagingName(kOldPrefix, id));
  if (decided && progress->phase.load() < Phase::kDecided) progress->phase.store(Phase::kDecided);
  Phase before = progress->phase.load();
  Result<void> settled;
  auto lock = LockSoon(root.get());
  if (lock) {
    settled = SettleRestores(root.get());
    Sweep(root.get());
    if (before == Phase::kUndecided) SetTimeBack(root.get(), progress->before);
    if (before >= Phase::kDecided && progress->has_after) SetTimeBack(root.get(), progress->after);
  } else if (Exists(root.get(), StagingName(kReadyPrefix, id))) {
    // Whoever began after the child's death has settled what it left, or is about to: not here.
    settled = Fail(Code::kUnavailable,
                   "a program holds a lock on " + dir + ": the restore is not finished",
                   "RESTORE_INCOMPLETE");
  }
  lock.reset();
  root.Reset();
  if (before < Phase::kDecided) {
    return Fail(
        Code::kResourceExhausted,
        "the restore ended early (the sandbox may be out of memory); " + dir + " is as it was");
  }
  TRY(std::move(settled));
  if (before == Phase::kDecided) TRY(link->Send(protocol::Ok{}));
  return link->Send(protocol::End{});
}

}  // namespace

Result<void> RunRestore(const protocol::Restore& request, int socket, protocol::FrameParser* parser,
                        Processes* processes) {
  ASSIGN(std::string id, NewStagingId());
  ASSIGN(ProgressPage page, MakeProgressPage());
  Progress* progress = page.get();
  auto run = [&](const std::function<Result<void>(ClientLink * link)>& body) {
    return RunTransfer(socket, parser, processes, WhenClientLeaves::kGoOn, [&](ClientLink* link) {
      auto ended = body(link);
      progress->phase.store(Phase::kEnded);
      return ended;
    });
  };
  auto done =
      run([&](ClientLink* link) { return RestoreSession(request.dir, id, progress, link).Run(); });
  for (int round = 0; round < kMaxFinishers && progress->phase.load() != Phase::kEnded; ++round) {
    done = run([&](ClientLink* link) { return FinishRestore(request.dir, id, progress, link); });
  }
  return done;
}

}  // namespace atl::agent
