// SPDX-License-Identifier: Apache-2.0
#include "agent/settle.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string_view>

#include "agent/commit.h"
#include "agent/staging.h"
#include "agent/target_dir.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr int kMaxHomes = 1000;
constexpr int kMaxNotes = 1000;
constexpr size_t kMaxNote = 4096;
constexpr const char* kNotes = "/var/lib/atoll-restores";

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

bool HasLeftovers(int dir) {
  bool found = false;
  ForEachName(dir, [&](std::string_view name) { return !(found = IsStagingName(name)); });
  return found;
}

void AddIfLeft(const std::string& path, std::vector<std::string>* dirs) {
  auto dir = OpenTargetDir(path);
  if (dir && HasLeftovers(dir->get())) dirs->push_back(path);
}

}  // namespace

Result<void> SettleLeftovers(int root) {
  if (!HasLeftovers(root)) return {};
  if (flock(root, LOCK_EX | LOCK_NB) != 0) return {};
  auto settled = SettleRestores(root);
  flock(root, LOCK_UN);
  return settled;
}

DecidedRestore::DecidedRestore(const std::string& dir, const std::string& id) {
  // The tests' agent is no sandbox's PID 1: what it restores is this host's.
  if (getppid() != 1) return;
  // Without a note the restore is still finished by whoever next looks at the directory.
  if (!sys::MakeDirs(kNotes, 0700)) return;
  std::string note = std::string(kNotes) + "/" + id;
  if (sys::WriteFile(note, dir, 0600)) note_ = note;
}

DecidedRestore::~DecidedRestore() {
  if (!note_.empty()) unlink(note_.c_str());
}

std::vector<std::string> DirsToSettle() {
  std::vector<std::string> dirs;
  if (auto notes = sys::Open(kNotes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) {
    int count = 0;
    ForEachName(notes->get(), [&](std::string_view name) {
      auto dir = sys::ReadFileAt(notes->get(), std::string(name), kMaxNote);
      if (dir) AddIfLeft(*dir, &dirs);
      unlinkat(notes->get(), std::string(name).c_str(), 0);
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
    auto root = OpenTargetDir(dir);
    if (!root || flock(root->get(), LOCK_EX | LOCK_NB) != 0 || !SettleRestores(root->get()))
      all = false;
    // What is undecided may be a stage that is being filled.
    if (all) Sweep(root->get());
  }
  return all ? 0 : 1;
}

}  // namespace atl::agent
