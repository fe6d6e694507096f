// SPDX-License-Identifier: Apache-2.0
// A booted template: what a member of the warm pool is, as files. Where CRIU works, a sandbox that
// is to have OpenCode goes on from there instead of booting it; where that fails, it boots.
#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/log.h"
#include "metrics/atoll.h"
#include "oci/leftovers.h"
#include "sandbox/id.h"
#include "sandbox/warm_pool.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kOpencodeDisk = 128ULL << 20U;
constexpr uint64_t kOpencodeInodes = 4096;
constexpr milliseconds kFirstPause{5'000};
constexpr milliseconds kLongestPause{3'600'000};
// A template that failed so often in a row is made anew.
constexpr int kComplaints = 3;
constexpr uint64_t kLowWeight = 10;

int64_t NowMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

bool IsDirectory(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::vector<std::string> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  return names;
}

void RemoveLogged(const std::string& path) {
  Result<void> removed = sys::RemoveTree(path);
  if (!removed) log::Warning("templates: {}", removed.error().message);
}

}  // namespace

std::string Registry::WarmPool::TemplateDir(const std::string& key) const {
  return fmt::format("{}/templates/{}", impl.options.state_dir, key);
}

std::string Registry::WarmPool::TemplateFor(const Row& wanted) {
  // Unlike a member's, its layer is made for it, of any size that holds what OpenCode has written.
  Limits limits = wanted.limits;
  bool holds = (limits.disk_bytes == 0 || limits.disk_bytes >= kOpencodeDisk) &&
               (limits.inodes == 0 || limits.inodes >= kOpencodeInodes);
  limits.disk_bytes = impl.options.limits.disk_bytes;
  limits.inodes = impl.options.limits.inodes;
  bool suits = options.templates && HasImage(wanted.image) && holds &&
               CanBecome(impl.options.limits, limits, true) &&
               (!hooks.suits || hooks.suits(wanted.env));
  if (!suits) return {};
  auto key = KeyOf(wanted.image);
  if (!key || !IsDirectory(TemplateDir(*key))) return {};
  return TemplateDir(*key);
}

void Registry::WarmPool::NoteTemplate(const std::string& dir, bool works) {
  {
    std::lock_guard guard(mutex);
    int& complaints = template_complaints[dir];
    complaints = works ? 0 : complaints + 1;
    if (complaints < kComplaints) return;
    complaints = 0;
  }
  log::Warning("templates: {} does not work and is removed", dir);
  RemoveLogged(dir);
}

void Registry::WarmPool::RemoveOldTemplates() const {
  std::string all = impl.options.state_dir + "/templates";
  std::set<std::string> wanted;
  for (const std::string& image : options.images) {
    auto key = KeyOf(image);
    if (key && options.templates) wanted.insert(*key);
  }
  for (const std::string& name : NamesIn(all)) {
    std::string dir = all + "/" + name;
    if (!wanted.contains(name)) {
      RemoveLogged(dir);
      continue;
    }
    for (const std::string& part : NamesIn(dir)) {
      if (part.starts_with("view-")) RemoveLogged(dir + "/" + part);
    }
  }
}

async::Task<Result<void>> Registry::WarmPool::DumpTemplate(EntryPtr member, std::string part) {
  CO_TRY(co_await hooks.warm(member->sandbox));
  CO_TRY(co_await member->sandbox->agent().Park());
  // What is connected to anything outside would have to be there again.
  member->sandbox->network_.reset();
  auto dump = [this, &member, &part]() -> Result<void> {
    TRY(sys::RemoveTree(part));
    return impl.launcher.Checkpoint(member->row.iid, member->row.id_base(), part);
  };
  CO_TRY(co_await impl.runtime.blocking().Run(dump));
  co_return Result<void>();
}

async::Task<Result<std::vector<std::string>>> Registry::WarmPool::TryTemplate(Row row,
                                                                              std::string part) {
  if (ending || impl.retired) co_return Fail(Code::kCancelled, "the daemon ends");
  row.iid = NewInternalId();
  row.id = MemberId(row.iid);
  EntryPtr member = impl.Obtain(row.id);
  async::Mutex::Lock lock = co_await member->lifecycle.Acquire();
  Result<void> done = co_await Launch(member, std::move(row), std::move(part));
  lock.Unlock();
  Result<std::vector<std::string>> drawn = Fail(Code::kInternal, "nothing was drawn");
  if (done) {
    drawn = co_await hooks.draw(member->sandbox);
  } else {
    drawn = Unexpected(std::move(done).error());
  }
  if (member->exists) {
    co_await Retire(member, "a template was tried with it");
  } else {
    impl.Discard(member);
  }
  co_return drawn;
}

async::Task<Result<void>> Registry::WarmPool::MakeDifferent(Row row, std::string part) {
  CO_ASSIGN(std::vector<std::string> drawn, co_await TryTemplate(row, part));
  auto unseed = [this, &part, &drawn] { return hooks.unseed(part + "/images", drawn); };
  CO_TRY(co_await impl.runtime.blocking().Run(unseed));
  // Neither what the first drew, nor what another draws from then on.
  for (int trial = 0; trial < 2; ++trial) {
    CO_ASSIGN(std::vector<std::string> more, co_await TryTemplate(row, part));
    drawn.insert(drawn.end(), more.begin(), more.end());
  }
  std::ranges::sort(drawn);
  if (std::ranges::adjacent_find(drawn) != drawn.end()) {
    co_return Fail(Code::kInternal, "its copies draw the same random numbers");
  }
  co_return Result<void>();
}

async::Task<Result<void>> Registry::WarmPool::MakeTemplate(std::string image, std::string key) {
  Stopwatch watch;
  Row row{.image = std::move(image),
          .limits = impl.options.limits,
          .created_at_ms = NowMs(),
          .pool_key = key};
  row.limits.weight = kLowWeight;
  Row first = row;
  first.iid = NewInternalId();
  first.id = MemberId(first.iid);
  EntryPtr member = impl.Obtain(first.id);
  async::Mutex::Lock lock = co_await member->lifecycle.Acquire();
  Result<void> made;
  if (impl.retired) made = Fail(Code::kCancelled, "a newer daemon takes over");
  if (made) made = co_await Launch(member, std::move(first));
  std::string part = TemplateDir(key) + ".part";
  if (made) made = co_await DumpTemplate(member, part);
  lock.Unlock();
  if (member->exists) {
    co_await Retire(member, made ? "it is a template now" : "it did not become a template");
  } else {
    impl.Discard(member);
  }
  if (made) made = co_await MakeDifferent(std::move(row), part);
  auto place = [&part, dir = TemplateDir(key)]() -> Result<void> {
    if (std::rename(part.c_str(), dir.c_str()) != 0) return FailErrno(errno, "place " + dir);
    return {};
  };
  if (made) made = co_await impl.runtime.blocking().Run(place);
  if (made) log::Info("templates: one is ready after {:.0f} ms", watch.Lap());
  co_return made;
}

async::Task<bool> Registry::WarmPool::TemplateRound(std::string image, std::string key,
                                                    HostLoad load) {
  bool able = hooks.warm && hooks.draw && hooks.unseed;
  if (!options.templates || !able || impl.retired) co_return false;
  {
    std::lock_guard guard(mutex);
    if (Clock::now() < template_hold_until) co_return false;
  }
  auto wanted = [this, &key] {
    return !IsDirectory(TemplateDir(key)) && impl.launcher.CanCheckpoint().has_value();
  };
  bool make = co_await impl.runtime.blocking().Run(wanted);
  if (!make) co_return false;
  if (!IsQuiet() || !HasHeadroom(options, load)) co_return true;
  auto tidy = [this]() -> Result<sys::Fd> {
    TRY(sys::MakeDirs(impl.options.state_dir + "/templates", 0755));
    ASSIGN(sys::Fd lock, oci::LockTemplates(impl.options.state_dir));
    RemoveOldTemplates();
    return lock;
  };
  // Until it has its name: nobody then takes it for what a daemon has left.
  Result<sys::Fd> lock = co_await impl.runtime.blocking().Run(tidy);
  Result<void> made;
  if (lock) {
    made = co_await MakeTemplate(std::move(image), std::move(key));
  } else {
    made = Unexpected(std::move(lock).error());
  }
  lock = sys::Fd();
  std::lock_guard guard(mutex);
  template_failures = made ? 0 : template_failures + 1;
  if (!made) {
    log::Warning("templates: none could be made; OpenCode boots without: {}", made.error().message);
    milliseconds pause = kFirstPause * (1 << std::min(template_failures, 12));
    template_hold_until = Clock::now() + std::min(kLongestPause, pause);
  }
  co_return false;
}

async::Task<Registry::Impl::FromPool> Registry::Impl::StartFromTemplate(EntryPtr entry,
                                                                        Phases& phases) {
  if (!pool) co_return FromPool::kNone;
  Row row = entry->row;
  auto look = [this, &row] { return pool->TemplateFor(row); };
  std::string dir = co_await runtime.blocking().Run(look);
  if (dir.empty()) co_return FromPool::kNone;
  {
    std::lock_guard guard(mutex);
    entry->reserved = true;  // until it is what it is to be
  }
  Result<void> done = co_await Launch(entry, true, phases, dir);
  Stopwatch watch;
  if (done) {
    std::shared_ptr<Sandbox> sandbox;
    {
      std::lock_guard guard(mutex);
      sandbox = entry->sandbox;
    }
    done = co_await BecomeSomebodys(std::move(sandbox), row);
    phases.emplace_back("become", watch.Lap());
  }
  auto note = [this, &dir, works = done.has_value()] { pool->NoteTemplate(dir, works); };
  co_await runtime.blocking().Run(note);
  if (done) {
    pool->hooks.claimed(row.id);
    co_return FromPool::kWorks;
  }
  log::Warning("sandbox {}: it boots instead of going on from a template: {}", row.id,
               done.error().message);
  co_return FromPool::kBroken;
}

}  // namespace atl::sandbox
