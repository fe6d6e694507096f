// SPDX-License-Identifier: Apache-2.0
#include "agent/commit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <vector>

#include "agent/dir_cache.h"
#include "agent/entry_meta.h"
#include "agent/journal.h"
#include "agent/staging.h"
#include "agent/target_dir.h"

namespace atl::agent {
namespace {

// How often to try again what a program that changes entries at the same time spoils.
constexpr int kRounds = 200;
constexpr int kPasses = 3;
constexpr size_t kMaxFailures = 100'000;

bool IsNotThere(const Error& error) {
  return error.sys_errno == ENOENT || error.sys_errno == ENOTDIR || error.sys_errno == ELOOP;
}

Unexpected KeepsChanging(const std::string& path) {
  return Fail(Code::kUnavailable, "a program keeps changing " + path);
}

class Committer {
 public:
  static Result<Committer> Open(int root, int staging) {
    ASSIGN(sys::Fd staged, sys::OpenAt(staging, kStagedDir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ASSIGN(sys::Fd away, sys::OpenAt(staging, kAwayDir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return Committer(root, staging, std::move(staged), std::move(away));
  }

  // Goes through the whole journal, then again through what failed.
  Result<protocol::End> Run(JournalReader* journal);
  const std::optional<protocol::EntryMeta>& own() const { return own_; }

 private:
  Committer(int root, int staging, sys::Fd staged, sys::Fd away)
      : root_(root),
        staging_(staging),
        staged_(std::move(staged)),
        away_(std::move(away)),
        sources_(staged_.get()),
        targets_(root) {}

  Result<void> Make(uint64_t number, const JournalEntry& entry);
  Result<void> Put(uint64_t number, const JournalEntry& entry);
  Result<bool> TryPut(uint64_t number, const JournalEntry& entry, int source,
                      const std::string& source_name, int target, const std::string& name);
  Result<void> Remove(uint64_t number, const std::string& path);
  Result<void> SetMetaOf(const protocol::Change& change);

  bool InStage(int source, const std::string& name, const JournalEntry& entry) const;
  Result<int> MakeParent(uint64_t number, const std::string& path);
  Result<void> ClearWay(uint64_t number, int dir, const std::string& name);

  int root_;
  int staging_;
  sys::Fd staged_;
  sys::Fd away_;
  DirCache sources_;
  DirCache targets_;
  std::optional<protocol::EntryMeta> own_;
  MetaRefusals refusals_;
  uint64_t vanished_ = 0;
};

bool Committer::InStage(int source, const std::string& name, const JournalEntry& entry) const {
  struct stat st{};
  if (fstatat(source, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if ((st.st_mode & S_IFMT) != (entry.mode & S_IFMT)) return false;
  // A directory never changes places with another, and its inode number may not last.
  return S_ISDIR(st.st_mode) || st.st_ino == entry.inode;
}

// What is in the way is rubbish from now on. A directory of an overlay's lower layer may be
// impossible to rename: then it is removed where it is.
Result<void> Committer::ClearWay(uint64_t number, int dir, const std::string& name) {
  for (int round = 0; round < kRounds; ++round) {
    std::string fresh = "way-" + std::to_string(number) + "-" + std::to_string(round);
    if (renameat2(dir, name.c_str(), away_.get(), fresh.c_str(), RENAME_NOREPLACE) == 0) return {};
    int error = errno;
    if (error == ENOENT) return {};
    if (error == EEXIST) continue;
    if (error != EXDEV && error != ENOSPC && error != EDQUOT && error != EINVAL) {
      return FailErrno(error, "move " + name + " away");
    }
    auto removed = RemoveAt(dir, name, away_.get());
    if (removed || removed.error().sys_errno != ENOTEMPTY) return removed;
  }
  return KeepsChanging(name);
}

// The directory that a path's entry goes to, whatever became of it since the changes were planned.
Result<int> Committer::MakeParent(uint64_t number, const std::string& path) {
  for (int round = 0; round < kRounds; ++round) {
    auto found = targets_.Open(path);
    if (found || !IsNotThere(found.error())) return found;
    ASSIGN(sys::Fd at, OpenBeneath(root_, "", O_PATH | O_DIRECTORY));
    for (size_t begin = 0; begin <= path.size();) {
      size_t end = std::min(path.find('/', begin), path.size());
      std::string name = path.substr(begin, end - begin);
      begin = end + 1;
      auto next = OpenBeneath(at.get(), name, O_PATH | O_DIRECTORY);
      if (!next && !IsNotThere(next.error())) return Unexpected(std::move(next).error());
      if (!next && next.error().sys_errno != ENOENT) TRY(ClearWay(number, at.get(), name));
      if (!next) {
        if (mkdirat(at.get(), name.c_str(), 0755) != 0 && errno != EEXIST) {
          return FailErrno(errno, "make directory " + name);
        }
        next = OpenBeneath(at.get(), name, O_PATH | O_DIRECTORY);
        if (!next) break;
      }
      at = std::move(*next);
    }
  }
  return KeepsChanging(path);
}

// True: it is in its place. False: try again.
Result<bool> Committer::TryPut(uint64_t number, const JournalEntry& entry, int source,
                               const std::string& source_name, int target,
                               const std::string& name) {
  auto move = [&](unsigned flags) {
    int done = renameat2(source, source_name.c_str(), target, name.c_str(), flags);
    return done == 0 ? 0 : errno;
  };
  int error = 0;
  if (!S_ISDIR(entry.mode)) {
    // What is there comes to lie in the stage: nobody ever sees the name without an entry.
    error = move(RENAME_EXCHANGE);
    if (error == 0) return true;
    if (error == EINVAL) {  // a file system that cannot exchange
      error = move(0);
      if (error == 0) return true;
      if (error != EISDIR && error != EXDEV) {
        return FailErrno(error, "move " + entry.change.path + " to its place");
      }
    }
    if (error != ENOENT) TRY(ClearWay(number, target, name));
  }
  error = move(RENAME_NOREPLACE);
  if (error == EINVAL) {
    TRY(ClearWay(number, target, name));
    error = move(0);
  }
  if (error == 0) return true;
  if (error == EEXIST) {
    if (S_ISDIR(entry.mode)) TRY(ClearWay(number, target, name));
    return false;
  }
  // The directory that it goes to was removed while it was open.
  if (error == ENOENT) return false;
  return FailErrno(error, "move " + entry.change.path + " to its place");
}

Result<void> Committer::Put(uint64_t number, const JournalEntry& entry) {
  auto [source_dir, source_name] = SplitPath(entry.change.staged);
  auto [target_dir, name] = SplitPath(entry.change.path);
  auto source = sources_.Open(source_dir);
  if (!source) {
    if (IsNotThere(source.error())) return {};
    return Unexpected(std::move(source).error());
  }
  for (int round = 0; round < kRounds; ++round) {
    if (!InStage(*source, source_name, entry)) return {};
    ASSIGN(int target, MakeParent(number, target_dir));
    ASSIGN(bool done, TryPut(number, entry, *source, source_name, target, name));
    if (done) {
      targets_.Forget(entry.change.path);
      if (S_ISDIR(entry.mode)) sources_.Forget(entry.change.staged);
      return {};
    }
    targets_.Forget("");
  }
  return KeepsChanging(entry.change.path);
}

Result<void> Committer::Remove(uint64_t number, const std::string& path) {
  // Whatever is at the path now may be what a later change put there.
  std::string trace = std::to_string(number);
  struct stat st{};
  if (fstatat(away_.get(), trace.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return {};
  auto mark = [&]() -> Result<void> {
    if (mkdirat(away_.get(), trace.c_str(), 0700) == 0 || errno == EEXIST || errno == ENOSPC) {
      return {};
    }
    return FailErrno(errno, "note that " + path + " is removed");
  };
  auto [dir, name] = SplitPath(path);
  auto target = targets_.Open(dir);
  if (!target) {
    if (IsNotThere(target.error())) return mark();
    return Unexpected(std::move(target).error());
  }
  targets_.Forget(path);
  if (renameat2(*target, name.c_str(), away_.get(), trace.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  if (errno != ENOENT) TRY(ClearWay(number, *target, name));
  return mark();
}

Result<void> Committer::SetMetaOf(const protocol::Change& change) {
  if (change.path.empty()) {
    own_ = change.meta;
    return SetMeta(root_, change.meta, {}, &refusals_);
  }
  auto [dir, name] = SplitPath(change.path);
  auto target = targets_.Open(dir);
  struct stat st{};
  bool there = target && fstatat(*target, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (st.st_mode & S_IFMT) == (change.meta.mode & S_IFMT);
  if (there) {
    auto set = SetMetaAt(*target, name, change.meta, &refusals_);
    if (set || !IsNotThere(set.error())) return set;
  }
  ++vanished_;
  return {};
}

Result<void> Committer::Make(uint64_t number, const JournalEntry& entry) {
  switch (entry.change.kind) {
    case protocol::ChangeKind::kPut:
      return Put(number, entry);
    case protocol::ChangeKind::kRemove:
      return Remove(number, entry.change.path);
    case protocol::ChangeKind::kMeta:
      return SetMetaOf(entry.change);
  }
  return {};
}

Result<protocol::End> Committer::Run(JournalReader* journal) {
  protocol::End end;
  std::vector<uint64_t> failed;  // ascending
  std::optional<Error> first;
  for (int pass = 0; pass < kPasses && (pass == 0 || first); ++pass) {
    std::vector<uint64_t> again;
    first.reset();
    // Not at once: freeing blocks may take long, and the sandbox waits.
    if (pass > 0) unlinkat(staging_, kReserveName, 0);
    journal->Rewind();
    for (uint64_t number = 0;; ++number) {
      ASSIGN(auto entry, journal->Next());
      if (!entry) {
        end.files = number;
        break;
      }
      if (pass > 0 && !std::binary_search(failed.begin(), failed.end(), number)) continue;
      auto made = Make(number, *entry);
      if (made) continue;
      if (!first) first = std::move(made).error().Wrap(entry->change.path);
      if (again.size() < kMaxFailures) again.push_back(number);
    }
    failed = std::move(again);
  }
  end.skipped = vanished_ + refusals_.count;
  if (!first) return end;
  return Fail(
      Code::kResourceExhausted,
      std::to_string(failed.size()) + " changes could not be made, the first: " + first->message,
      "RESTORE_INCOMPLETE");
}

Result<void> Rename(int root, const std::string& from, const std::string& to) {
  if (renameat(root, from.c_str(), root, to.c_str()) == 0) return {};
  return FailErrno(errno, "rename " + from);
}

}  // namespace

Result<void> Decide(int root, const std::string& id) {
  return Rename(root, StagingName(kRestorePrefix, id), StagingName(kReadyPrefix, id));
}

Result<protocol::End> MakeChanges(int root, const std::string& id) {
  std::string name = StagingName(kReadyPrefix, id);
  ASSIGN(sys::Fd staging, sys::OpenAt(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::optional<protocol::EntryMeta> own;
  auto made = [&]() -> Result<protocol::End> {
    ASSIGN(JournalReader journal, JournalReader::Open(staging.get()));
    ASSIGN(Committer committer, Committer::Open(root, staging.get()));
    auto end = committer.Run(&journal);
    own = committer.own();
    return end;
  }();
  TRY(Rename(root, name, StagingName(kOldPrefix, id)));
  MetaRefusals refusals;
  if (own) TRY(SetMeta(root, *own, {}, &refusals));
  return made;
}

Result<void> SettleRestores(int root) {
  ASSIGN(auto names, ListNames(root));
  Result<void> settled;
  for (const std::string& name : names) {
    if (!IsStagingName(name) || !name.starts_with(kReadyPrefix)) continue;
    auto staging = sys::OpenAt(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!staging) continue;
    auto journal = JournalReader::Open(staging->get());
    if (!journal) continue;
    ASSIGN(bool whole, journal->IsWhole());
    std::string id = name.substr(kReadyPrefix.size());
    if (!whole) {
      // Nothing can be made of it, and it must not be looked at for ever.
      TRY(Rename(root, name, StagingName(kOldPrefix, id)));
      continue;
    }
    auto made = MakeChanges(root, id);
    if (!made) settled = Unexpected(std::move(made).error());
  }
  return settled;
}

}  // namespace atl::agent
