// SPDX-License-Identifier: Apache-2.0
// doctor --leaks: what belongs to nothing, and its removal.
#include "oci/leaks.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "cli/stale_locks.h"
#include "cli/verbs.h"
#include "db/database.h"
#include "json/writer.h"
#include "oci/trash.h"
#include "sandbox/rows.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

using LeakList = std::vector<oci::Leak>;

constexpr std::chrono::seconds kPause{1};
// A daemon lets no sandbox stand still for longer than half a minute, but those that sleep.
constexpr std::chrono::seconds kLongestFreeze{35};

struct Look {
  size_t sandboxes = 0;
  LeakList leaks;
};

std::string DatabaseOf(const daemon::Config& config) { return config.state_dir + "/atoll.db"; }

Result<sandbox::KnownIids> ReadSandboxes(const daemon::Config& config) {
  if (::access(DatabaseOf(config).c_str(), F_OK) != 0) return sandbox::KnownIids();
  ASSIGN(auto database, db::Database::Open(DatabaseOf(config), db::Database::Mode::kReadOnly));
  return sandbox::Rows(*database).Known();
}

oci::LauncherConfig LauncherOf(const daemon::Config& config) {
  oci::LauncherConfig launcher;
  launcher.state_dir = config.state_dir;
  launcher.run_dir = config.run_dir;
  launcher.images_dir = config.images_dir;
  launcher.opencode_dir = config.opencode_dir;
  launcher.snapshots_dir = config.snapshots.dir;
  launcher.cgroup_root = config.cgroup;
  return launcher;
}

Result<Look> LookOnce(const daemon::Config& config) {
  ASSIGN(sandbox::KnownIids known, ReadSandboxes(config));
  ASSIGN(LeakList leaks,
         oci::FindLeaks(LauncherOf(config), known.live, known.running, known.awake, &known.ranges));
  auto locks = FindStaleLocks(config);
  // A repository that cannot be opened is a matter for `atoll repo check`.
  if (!locks) fmt::print(stderr, "atoll: locks of snapshots: {}\n", locks.error().message);
  if (locks) {
    for (std::string& path : *locks) leaks.push_back({.kind = "lock", .what = std::move(path)});
  }
  return Look{.sandboxes = known.live.size(), .leaks = std::move(leaks)};
}

// Beside a daemon things come and go. What is there at both looks, and has no row at either,
// belongs to nothing: a row is written before what it announces is made, and is the last to go.
Result<Look> LookTwice(const daemon::Config& config) {
  ASSIGN(Look look, LookOnce(config));
  auto begin = std::chrono::steady_clock::now();
  bool again = true;
  while (again && !look.leaks.empty()) {
    std::this_thread::sleep_for(kPause);
    ASSIGN(Look next, LookOnce(config));
    std::erase_if(look.leaks, [&](const oci::Leak& leak) {
      return std::ranges::find(next.leaks, leak) == next.leaks.end();
    });
    look.sandboxes = next.sandboxes;
    // What stands still may do so for a snapshot.
    bool frozen = std::ranges::any_of(look.leaks,
                                      [](const oci::Leak& leak) { return leak.kind == "frozen"; });
    again = frozen && oci::DaemonPid(config.run_dir) != 0 &&
            std::chrono::steady_clock::now() - begin < kLongestFreeze;
  }
  return look;
}

// Without its database every sandbox would belong to nothing.
Result<void> CheckDatabase(const daemon::Config& config) {
  if (::access(DatabaseOf(config).c_str(), F_OK) == 0) return {};
  if (oci::NamesIn(config.state_dir + "/sandboxes").empty()) return {};
  return Fail(Code::kFailedPrecondition,
              fmt::format("{} is not there, but {}/sandboxes holds files: nothing is removed. A "
                          "daemon that is started sets them aside in {}/lost",
                          DatabaseOf(config), config.state_dir, config.state_dir));
}

// No daemon begins while things are removed that it would take for its own.
Result<sys::Fd> HoldRunDir(const daemon::Config& config) {
  auto lock = sys::Open(config.run_dir + "/lock", O_RDWR);
  if (!lock) {
    if (lock.error().sys_errno == ENOENT) return sys::Fd();
    return lock;
  }
  // Held by a daemon: that one is asked by its database.
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0 && errno != EWOULDBLOCK) {
    return FailErrno(errno, fmt::format("lock {}/lock", config.run_dir));
  }
  return lock;
}

void WriteLeaks(json::Writer& writer, const char* name, const LeakList& leaks) {
  writer.Key(name).BeginArray();
  for (const oci::Leak& leak : leaks) {
    writer.BeginObject()
        .Field("kind", leak.kind)
        .Field("what", leak.what)
        .Field("owner", leak.owner)
        .EndObject();
  }
  writer.EndArray();
}

void Print(const oci::Leak& leak, std::string_view end = {}) {
  fmt::print("{:<10} {}{}{}{}\n", leak.kind, leak.what, leak.owner.empty() ? "" : "  of ",
             leak.owner, end);
}

}  // namespace

Result<int> Leaks(const Globals& globals, bool fix) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  sys::Fd lock;
  if (fix) {
    TRY(CheckDatabase(config));
    ASSIGN(lock, HoldRunDir(config));
  }
  ASSIGN(Look look, LookTwice(config));
  std::vector<oci::LeftLeak> left;
  LeakList removed;
  if (fix) {
    ASSIGN(left, oci::RemoveFound(LauncherOf(config), look.leaks));
    removed = look.leaks;
    for (const oci::LeftLeak& one : left) std::erase(removed, one.leak);
  }
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject();
    WriteLeaks(writer, "leaks", look.leaks);
    if (fix) WriteLeaks(writer, "removed", removed);
    writer.EndObject();
    fmt::print("{}\n", writer.Take());
  } else {
    for (const oci::Leak& leak : fix ? removed : look.leaks) Print(leak, fix ? "  removed" : "");
    for (const oci::LeftLeak& one : left) Print(one.leak, "  stays: " + one.why);
    fmt::print("{} sandboxes, {} leaks\n", look.sandboxes, look.leaks.size() - removed.size());
  }
  return look.leaks.size() == removed.size() ? 0 : 1;
}

}  // namespace atl::cli
