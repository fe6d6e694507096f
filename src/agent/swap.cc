// SPDX-License-Identifier: Apache-2.0
#include "agent/swap.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "agent/archive_dir.h"
#include "agent/journal.h"

namespace atl::agent {
namespace {

// Descriptors are held per level.
constexpr int kMaxMoveDepth = 256;
constexpr int kMaxRemoveDepth = 1000;
// How often to try again what a program that creates entries at the same time spoils.
constexpr int kRounds = 200;
// A name inside `.atoll-old-X` for what stood in a new entry's way.
constexpr std::string_view kInTheWay = ".atoll-in-the-way-";

bool HasPrefix(std::string_view name, std::string_view prefix) {
  return IsStagingName(name) && name.starts_with(prefix);
}

std::string Named(std::string_view prefix, const std::string& id) {
  return std::string(prefix) + id;
}

Result<sys::Fd> OpenDir(int dir, const std::string& name) {
  return sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// rm -rf below an open directory: by descriptors, through no symlink.
Result<void> RemoveOld(int dir, const std::string& name, int depth) {
  if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, "remove " + name);
  if (depth > kMaxRemoveDepth) {
    return Fail(Code::kInvalidArgument, "directories are nested too deeply");
  }
  {
    ASSIGN(sys::Fd sub, OpenDir(dir, name));
    ASSIGN(auto names, ListNames(sub.get()));
    // As much as can go goes: a program may still create entries in one of them.
    Result<void> removed;
    for (const std::string& child : names) {
      auto gone = RemoveOld(sub.get(), child, depth + 1);
      if (!gone) removed = std::move(gone);
    }
    TRY(std::move(removed));
  }
  if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0) return FailErrno(errno, "remove " + name);
  return {};
}

Result<void> SetMetadata(int dir, const OwnMetadata& own) {
  if (fchown(dir, own.uid, own.gid) != 0 || fchmod(dir, own.mode) != 0) {
    return FailErrno(errno, "set the directory's owner and mode");
  }
  std::array<timespec, 2> times{{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, own.mtime}};
  if (futimens(dir, times.data()) != 0) return FailErrno(errno, "set the directory's time");
  return {};
}

Result<OwnMetadata> GetMetadata(int dir) {
  struct stat st{};
  if (fstat(dir, &st) != 0) return FailErrno(errno, "stat a directory");
  return OwnMetadata{
      .mode = st.st_mode & 07777U, .uid = st.st_uid, .gid = st.st_gid, .mtime = st.st_mtim};
}

// Moves an entry to where nothing of its name is, unless a part of it already is.
Result<void> MoveAway(int from, int to, const std::string& name, int depth);

// A directory of an overlay's lower layer cannot be renamed: one like it is made and takes its
// entries.
Result<void> MoveDirAway(int from, int to, const std::string& name, int depth) {
  if (depth > kMaxMoveDepth) return Fail(Code::kInvalidArgument, "directories are too deep");
  ASSIGN(sys::Fd source, OpenDir(from, name));
  ASSIGN(OwnMetadata metadata, GetMetadata(source.get()));
  if (mkdirat(to, name.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno(errno, "make a directory for " + name);
  }
  ASSIGN(sys::Fd target, OpenDir(to, name));
  for (int round = 0;; ++round) {
    ASSIGN(auto names, ListNames(source.get()));
    for (const std::string& child : names) {
      TRY(MoveAway(source.get(), target.get(), child, depth + 1));
    }
    // Before the original goes, so that what is moved back is like it.
    TRY(SetMetadata(target.get(), metadata));
    if (unlinkat(from, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if ((errno != ENOTEMPTY && errno != EEXIST) || round == kRounds) {
      return FailErrno(errno, "move " + name + " away");
    }
  }
}

Result<void> MoveAway(int from, int to, const std::string& name, int depth) {
  if (renameat(from, name.c_str(), to, name.c_str()) == 0 || errno == ENOENT) return {};
  int error = errno;
  if (error == EXDEV) return MoveDirAway(from, to, name, depth);
  return FailErrno(error, "move " + name + " away");
}

// Moves an old entry back to its place, whatever is there by now.
Result<void> MoveBack(int old, int root, const std::string& name, int depth) {
  for (int round = 0; round < kRounds; ++round) {
    if (renameat(old, name.c_str(), root, name.c_str()) == 0 || errno == ENOENT) return {};
    int error = errno;
    if (error != ENOTEMPTY && error != EEXIST && error != EISDIR && error != ENOTDIR &&
        error != EXDEV) {
      return FailErrno(error, "move " + name + " back");
    }
    auto from = OpenDir(old, name);
    auto to = OpenDir(root, name);
    if (!from || !to) {
      TRY(RemoveOld(root, name, 0));
      continue;
    }
    // Two directories: only a part of its entries had been moved away.
    if (depth > kMaxMoveDepth) return Fail(Code::kInvalidArgument, "directories are too deep");
    ASSIGN(OwnMetadata metadata, GetMetadata(to->get()));
    ASSIGN(auto names, ListNames(from->get()));
    for (const std::string& child : names) {
      TRY(MoveBack(from->get(), to->get(), child, depth + 1));
    }
    TRY(SetMetadata(to->get(), metadata));
    if (unlinkat(old, name.c_str(), AT_REMOVEDIR) == 0) return {};
  }
  return Fail(Code::kUnavailable, "a program keeps changing " + name);
}

Result<void> Undo(int root, const std::string& id) {
  std::string name = Named(kOldPrefix, id);
  ASSIGN(sys::Fd old, OpenDir(root, name));
  ASSIGN(auto names, ListNames(old.get()));
  for (const std::string& entry : names) {
    if (!entry.starts_with(kInTheWay)) TRY(MoveBack(old.get(), root, entry, 0));
  }
  (void)RemoveOld(root, name, 0);  // nothing in it is needed any more
  return {};
}

// Moves an entry to where its name does not matter.
Result<void> MoveAside(int root, int old, const std::string& name) {
  for (int number = 0; number < 10'000; ++number) {
    std::string aside = std::string(kInTheWay) + std::to_string(number);
    if (renameat2(root, name.c_str(), old, aside.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == ENOENT) return {};
    if (errno != EEXIST) return FailErrno(errno, "move " + name + " away");
  }
  return Fail(Code::kUnavailable, "a program keeps changing " + name);
}

// Moves a new entry in; what a program has put in its place meanwhile goes to the old content.
Result<void> MoveIn(int ready, int root, int old, const std::string& name) {
  for (int round = 0; round < kRounds; ++round) {
    if (renameat(ready, name.c_str(), root, name.c_str()) == 0) return {};
    int error = errno;
    if (error != ENOTEMPTY && error != EEXIST && error != EISDIR && error != ENOTDIR) {
      return FailErrno(error, "move " + name + " to its place");
    }
    TRY(MoveAside(root, old, name));
  }
  return Fail(Code::kUnavailable, "a program keeps changing " + name);
}

Result<void> Finish(int root, const std::string& id) {
  std::string name = Named(kReadyPrefix, id);
  std::string old_name = Named(kOldPrefix, id);
  ASSIGN(sys::Fd ready, OpenDir(root, name));
  if (mkdirat(root, old_name.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno(errno, "make a directory");
  }
  ASSIGN(sys::Fd old, OpenDir(root, old_name));
  ASSIGN(auto names, ListNames(ready.get()));
  for (const std::string& entry : names) TRY(MoveIn(ready.get(), root, old.get(), entry));
  if (unlinkat(root, name.c_str(), AT_REMOVEDIR) != 0) return FailErrno(errno, "remove " + name);
  return {};
}

// After a failed Finish: what has moved in goes back, so that the swap is undecided again.
Result<void> Withdraw(int root, const std::string& id, const std::vector<std::string>& names,
                      const OwnMetadata& before) {
  std::string name = Named(kReadyPrefix, id);
  ASSIGN(sys::Fd ready, OpenDir(root, name));
  for (const std::string& entry : names) {
    // Those that never moved in are still there and stay.
    renameat2(root, entry.c_str(), ready.get(), entry.c_str(), RENAME_NOREPLACE);
  }
  if (renameat(root, name.c_str(), root, Named(kRestorePrefix, id).c_str()) != 0) {
    return FailErrno(errno, "rename " + name);
  }
  TRY(SettleSwap(root));
  return SetMetadata(root, before);
}

// Moves everything but staging directories to `old`. Programs may create entries meanwhile; those
// of the last moment stay.
Result<void> Evacuate(int root, int old) {
  for (int round = 0; round < kRounds; ++round) {
    ASSIGN(auto names, ListNames(root));
    std::erase_if(names, [](const std::string& name) { return IsStagingName(name); });
    if (names.empty()) return {};
    for (const std::string& name : names) {
      if (round == 0) {
        TRY(MoveAway(root, old, name, 0));
      } else if (renameat2(root, name.c_str(), old, name.c_str(), RENAME_NOREPLACE) != 0) {
        // The older one of the name counts.
        TRY(MoveAside(root, old, name));
      }
    }
  }
  return {};
}

}  // namespace

Result<std::string> MakeSwapStaging(int root) {
  ASSIGN(std::string id, NewStagingId());
  if (mkdirat(root, Named(kRestorePrefix, id).c_str(), 0700) != 0) {
    return FailErrno(errno, "make a directory");
  }
  return id;
}

Result<void> Swap(int root, const std::string& id, const OwnMetadata& own) {
  ASSIGN(OwnMetadata before, GetMetadata(root));
  std::string staging = Named(kRestorePrefix, id);
  std::vector<std::string> names;
  {
    ASSIGN(sys::Fd staged, OpenDir(root, staging));
    ASSIGN(names, ListNames(staged.get()));
  }
  auto decided = [&]() -> Result<void> {
    std::string old_name = Named(kOldPrefix, id);
    if (mkdirat(root, old_name.c_str(), 0700) != 0) return FailErrno(errno, "make a directory");
    ASSIGN(sys::Fd old, OpenDir(root, old_name));
    TRY(Evacuate(root, old.get()));
    // The one step that decides: killed before it, the old content comes back.
    if (renameat(root, staging.c_str(), root, Named(kReadyPrefix, id).c_str()) != 0) {
      return FailErrno(errno, "rename " + staging);
    }
    return {};
  }();
  if (!decided) {
    TRY(SettleSwap(root));
    TRY(SetMetadata(root, before));
    return decided;
  }
  auto finished = Finish(root, id);
  if (!finished) {
    TRY(Withdraw(root, id, names, before));
    return finished;
  }
  // Now, in case that the long deletion is cut short, and again because it changes the time.
  TRY(SetMetadata(root, own));
  Sweep(root);
  return SetMetadata(root, own);
}

Result<void> SettleSwap(int root) {
  ASSIGN(auto names, ListNames(root));
  auto exists = [&](const std::string& name) {
    return std::binary_search(names.begin(), names.end(), name);
  };
  for (const std::string& name : names) {
    // With a journal it is not a swap's.
    if (HasPrefix(name, kReadyPrefix) &&
        faccessat(root, (name + "/" + kJournalName).c_str(), F_OK, 0) != 0) {
      TRY(Finish(root, name.substr(kReadyPrefix.size())));
    } else if (HasPrefix(name, kOldPrefix)) {
      std::string id = name.substr(kOldPrefix.size());
      bool undecided = exists(Named(kRestorePrefix, id)) && !exists(Named(kReadyPrefix, id));
      if (undecided) TRY(Undo(root, id));
    }
  }
  return {};
}

}  // namespace atl::agent
