// SPDX-License-Identifier: Apache-2.0
#include "agent/settle.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "agent/commit.h"
#include "agent/dir_lock.h"
#include "agent/staging.h"
#include "agent/target_dir.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr int kMaxHomes = 1000;
// There is one restore at a time; programs may write what they like.
constexpr int kMaxNotes = 16;
constexpr size_t kMaxNote = 4096;

// Calls `on_name` until it says false. Holds none of the names: there may be very many.
void ForEachName(int dir, const std::function<bool(std::string_view)>& on_name) {
  auto own = sys::OpenAt(dir, ".", O_RDONLY | O_DIRECTORY);
  if (!own) return;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(own->get()), closedir);
  if (!stream) return;
  (void)own->Release();
  while (const dirent* entry = readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !on_name(name)) return;
  }
}

// Whatever a program puts in a note's place, nobody waits for it.
std::optional<std::string> ReadNote(int notes, const std::string& name) {
  auto file = sys::OpenAt(notes, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  struct stat info{};
  if (!file || fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  std::string text(kMaxNote, '\0');
  ssize_t count = read(file->get(), text.data(), text.size());
  if (count <= 0) return std::nullopt;
  text.resize(static_cast<size_t>(count));
  return text;
}

bool HasLeftovers(int dir) {
  bool found = false;
  ForEachName(dir, [&](std::string_view name) { return !(found = IsStagingName(name)); });
  return found;
}

// Whether there is something to do.
bool AddIfLeft(const std::string& path, std::vector<std::string>* dirs) {
  if (std::find(dirs->begin(), dirs->end(), path) != dirs->end()) return true;
  auto dir = OpenTargetDir(path);
  if (!dir || !HasLeftovers(dir->get())) return false;
  dirs->push_back(path);
  return true;
}

bool Settle(const std::string& dir) {
  auto root = OpenTargetDir(dir);
  if (!root) return false;
  auto lock = LockDir(root->get());
  if (!lock || !*lock || !SettleRestores(root->get())) return false;
  // What is undecided may be a stage that is being filled, but for the lock.
  Sweep(root->get());
  return true;
}

}  // namespace

Result<void> SettleLeftovers(int root) {
  if (!HasLeftovers(root)) return {};
  ASSIGN(auto lock, LockDir(root));
  if (!lock) return {};
  return SettleRestores(root);
}

DecidedRestore::DecidedRestore(const std::string& dir, const std::string& id) {
  // The tests' agent is no sandbox's PID 1: what it restores is this host's.
  if (getppid() != 1) return;
  // Without a note the restore is still finished by whoever next looks at the directory.
  if (!sys::MakeDirs(kRestoreNotes, 0700)) return;
  std::string note = std::string(kRestoreNotes) + "/" + id;
  if (sys::WriteFile(note, dir, 0600)) note_ = note;
}

DecidedRestore::~DecidedRestore() {
  if (!note_.empty()) unlink(note_.c_str());
}

std::vector<std::string> DirsToSettle(const std::string& notes_dir) {
  std::vector<std::string> dirs;
  if (auto notes = sys::Open(notes_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) {
    int count = 0;
    ForEachName(notes->get(), [&](std::string_view name) {
      std::string note(name);
      auto dir = ReadNote(notes->get(), note);
      // One that is still needed stays for the start after this one: what settles the directory may
      // be killed, too.
      if (!dir || !AddIfLeft(*dir, &dirs)) unlinkat(notes->get(), note.c_str(), 0);
      return ++count < kMaxNotes;
    });
  }
  for (const char* path : {"/workspace", "/root", "/home"}) AddIfLeft(path, &dirs);
  auto home = OpenTargetDir("/home");
  if (!home) return dirs;
  int count = 0;
  ForEachName(home->get(), [&](std::string_view name) {
    if (!IsStagingName(name)) AddIfLeft("/home/" + std::string(name), &dirs);
    return ++count < kMaxHomes;
  });
  return dirs;
}

int SettleMain(const std::vector<std::string>& dirs) {
  bool all = true;
  for (const std::string& dir : dirs) {
    if (!Settle(dir)) all = false;
  }
  return all ? 0 : 1;
}

}  // namespace atl::agent
