// SPDX-License-Identifier: Apache-2.0
#include "opencode/server.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "async/mutex.h"
#include "base/log.h"
#include "opencode/launch.h"

namespace atl::opencode {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{30'000};
constexpr milliseconds kSuspendedPause{50};
// A server that was healthy for this long has earned a quick restart.
constexpr milliseconds kLongHealthy{60'000};

milliseconds Pause(int failures) {
  if (failures == 0) return milliseconds(0);
  return std::min(kLongestPause, kFirstPause * (1 << std::min(failures - 1, 10)));
}

struct Entry {
  uint64_t number = 0;  // of this start: a task that is no longer the current one changes nothing
  Status status = Status::kStopped;
  std::string iid;  // of the sandbox that the server is or was in
  std::optional<Error> failure;
  std::shared_ptr<async::Event> settled;  // kStarting is over
  int failures = 0;                       // in a row
  Clock::time_point retry_at;
  Clock::time_point ready_since;
};

}  // namespace

struct Servers::Impl {
  Impl(async::Runtime& on, sandbox::Registry& of, Options with)
      : runtime(on), registry(of), options(std::move(with)) {}

  async::Runtime& runtime;
  sandbox::Registry& registry;
  const Options options;
  mutable std::mutex mutex;
  std::map<std::string, Entry, std::less<>> entries;
  struct Suspension {
    int count = 0;
    bool ran = false;
  };
  std::map<std::string, Suspension, std::less<>> suspended;
  uint64_t last_number = 0;

  bool IsSuspended(const std::string& id) const {
    std::lock_guard lock(mutex);
    return suspended.contains(id);
  }
  // The entry of the sandbox that has this id now, under the mutex.
  const Entry* Find(std::string_view id, const std::string& iid) const {
    auto it = entries.find(id);
    return it == entries.end() || it->second.iid != iid ? nullptr : &it->second;
  }
  std::string Iid(std::string_view id) const {
    std::optional<sandbox::Info> info = registry.Find(id);
    return info ? info->iid : std::string();
  }
  // Changes the entry if it is still the one of start `number`.
  template <class Change>
  bool Update(const std::string& id, uint64_t number, Change change) {
    std::lock_guard lock(mutex);
    auto it = entries.find(id);
    if (it == entries.end() || it->second.number != number) return false;
    change(it->second);
    return true;
  }
  std::shared_ptr<async::Event> Begin(const std::shared_ptr<Impl>& self, const std::string& id);
  void NoteFailure(const std::string& id, uint64_t number, Error error);
  void NoteReady(const std::string& id, uint64_t number);
  void NoteEnd(const std::string& id, uint64_t number, const std::string& why);
};

namespace {

template <class Impl>
async::Task<> Serve(std::shared_ptr<Impl> impl, std::string id, uint64_t number,
                    milliseconds pause) {
  if (pause.count() > 0) co_await async::Sleep(pause);
  while (impl->IsSuspended(id)) co_await async::Sleep(kSuspendedPause);
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await impl->registry.Acquire(id);
  if (!sandbox) {
    impl->NoteFailure(id, number, std::move(sandbox).error());
    co_return;
  }
  sandbox::AgentClient& agent = (*sandbox)->agent();
  Result<void> up = co_await BringUp(agent, impl->options);
  if (!up) {
    impl->NoteFailure(id, number, std::move(up).error());
    co_return;
  }
  impl->NoteReady(id, number);
  std::string why = co_await WaitForEnd(agent);
  impl->NoteEnd(id, number, why);
}

}  // namespace

// Returns the event that is set when the start under way is over; null when the server is ready.
std::shared_ptr<async::Event> Servers::Impl::Begin(const std::shared_ptr<Impl>& self,
                                                   const std::string& id) {
  std::string iid = Iid(id);
  std::shared_ptr<async::Event> settled;
  uint64_t number = 0;
  milliseconds pause{0};
  {
    std::lock_guard lock(mutex);
    Entry& entry = entries[id];
    if (entry.iid != iid) {
      if (entry.settled) entry.settled->Set();
      entry = Entry{.iid = iid};
    }
    if (entry.status == Status::kReady) return nullptr;
    if (entry.status == Status::kStarting) return entry.settled;
    number = entry.number = ++last_number;
    entry.status = Status::kStarting;
    settled = entry.settled = std::make_shared<async::Event>();
    auto left = std::chrono::ceil<milliseconds>(entry.retry_at - Clock::now());
    if (entry.failures > 0) pause = std::clamp(left, milliseconds(0), kLongestPause);
  }
  async::Spawn(runtime.NextShard(), Serve(self, id, number, pause), "OpenCode");
  return settled;
}

void Servers::Impl::NoteFailure(const std::string& id, uint64_t number, Error error) {
  log::Warning("sandbox {}: {}", id, error.message);
  Update(id, number, [&](Entry& entry) {
    entry.status = Status::kFailed;
    entry.failure = std::move(error);
    entry.retry_at = Clock::now() + Pause(++entry.failures);
    entry.settled->Set();
  });
}

void Servers::Impl::NoteReady(const std::string& id, uint64_t number) {
  Update(id, number, [](Entry& entry) {
    entry.status = Status::kReady;
    entry.failure.reset();
    entry.ready_since = Clock::now();
    entry.settled->Set();
  });
}

void Servers::Impl::NoteEnd(const std::string& id, uint64_t number, const std::string& why) {
  bool current = Update(id, number, [](Entry& entry) {
    entry.status = Status::kStopped;
    if (Clock::now() - entry.ready_since > kLongHealthy) entry.failures = 0;
    entry.retry_at = Clock::now() + Pause(++entry.failures);
  });
  if (current) log::Info("sandbox {}: OpenCode has ended: {}", id, why);
}

Servers::Servers(async::Runtime& runtime, sandbox::Registry& registry, Options options)
    : impl_(std::make_shared<Impl>(runtime, registry, std::move(options))) {}
Servers::~Servers() = default;

void Servers::Start(std::string id) { impl_->Begin(impl_, id); }

async::Task<> Servers::Adopt() {
  std::shared_ptr<Impl> impl = impl_;
  for (const sandbox::Info& info : impl->registry.List()) {
    if (info.state != sandbox::State::kRunning) continue;
    Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await impl->registry.Acquire(info.id);
    if (!sandbox) continue;
    Result<bool> running = co_await IsRunning((*sandbox)->agent());
    if (running && *running) impl->Begin(impl, info.id);
  }
}

namespace {

async::Task<> WaitFor(std::shared_ptr<async::Event> event) { co_await event->Wait(); }

}  // namespace

async::Task<Result<void>> Servers::WaitReady(std::string id, milliseconds limit) {
  std::shared_ptr<Impl> impl = impl_;
  std::shared_ptr<async::Event> settled = impl->Begin(impl, id);
  if (!settled) co_return Result<void>();
  bool in_time = co_await async::WithTimeout(limit, WaitFor(settled));
  if (!in_time) {
    co_return Fail(Code::kUnavailable, "OpenCode is still starting", "OPENCODE_STARTUP_FAILED");
  }
  std::string iid = impl->Iid(id);
  std::lock_guard lock(impl->mutex);
  const Entry* entry = impl->Find(id, iid);
  if (entry == nullptr) {
    co_return Fail(Code::kNotFound, "the sandbox was deleted meanwhile", "SANDBOX_NOT_FOUND");
  }
  if (entry->status == Status::kReady) co_return Result<void>();
  if (entry->failure) co_return Unexpected(*entry->failure);
  co_return Fail(Code::kUnavailable, "OpenCode ended right after its start",
                 "OPENCODE_STARTUP_FAILED");
}

Status Servers::status(std::string_view id) const {
  std::string iid = impl_->Iid(id);
  std::lock_guard lock(impl_->mutex);
  const Entry* entry = impl_->Find(id, iid);
  return entry == nullptr ? Status::kStopped : entry->status;
}

std::string Servers::failure(std::string_view id) const {
  std::string iid = impl_->Iid(id);
  std::lock_guard lock(impl_->mutex);
  const Entry* entry = impl_->Find(id, iid);
  return entry == nullptr || !entry->failure ? std::string() : entry->failure->message;
}

async::Task<> Servers::Suspend(std::string id) {
  std::shared_ptr<Impl> impl = impl_;
  bool first = false;
  {
    std::lock_guard lock(impl->mutex);
    first = impl->suspended[id].count++ == 0;
  }
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await impl->registry.Acquire(id);
  if (!sandbox) co_return;
  Result<bool> running = co_await IsRunning((*sandbox)->agent());
  if (!running || !*running) co_return;
  if (first) {
    std::lock_guard lock(impl->mutex);
    impl->suspended[id].ran = true;
  }
  // Its end is wanted, so it counts for nothing.
  Forget(id);
  co_await End((*sandbox)->agent());
}

void Servers::Resume(std::string id) {
  bool start = false;
  {
    std::lock_guard lock(impl_->mutex);
    auto it = impl_->suspended.find(id);
    if (it == impl_->suspended.end() || --it->second.count > 0) return;
    start = it->second.ran;
    impl_->suspended.erase(it);
  }
  if (start) impl_->Begin(impl_, id);
}

void Servers::Forget(std::string_view id) {
  std::lock_guard lock(impl_->mutex);
  auto it = impl_->entries.find(id);
  if (it == impl_->entries.end()) return;
  if (it->second.settled) it->second.settled->Set();
  impl_->entries.erase(it);
}

}  // namespace atl::opencode
