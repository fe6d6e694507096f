// SPDX-License-Identifier: Apache-2.0
#include "sandbox/registry.h"

#include <fmt/format.h>
#include <poll.h>

#include "sandbox/id.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

Unexpected NotFound(std::string_view id) {
  return Fail(Code::kNotFound, fmt::format("there is no sandbox {}", id), "SANDBOX_NOT_FOUND");
}

bool HasEnded(int pidfd) {
  pollfd poll{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

}  // namespace

oci::LauncherConfig LauncherConfigOf(const Options& options) {
  return oci::LauncherConfig{.state_dir = options.state_dir,
                             .run_dir = options.run_dir,
                             .images_dir = options.images_dir,
                             .snapshots_dir = options.snapshots_dir,
                             .cgroup_root = options.cgroup,
                             .agent_binary = options.agent_binary,
                             .opencode_binary = options.opencode_binary,
                             .open_files = options.open_files};
}

Sandbox::Sandbox(Info info, std::unique_ptr<AgentClient> agent)
    : info_(std::move(info)), agent_(std::move(agent)) {}
Sandbox::~Sandbox() = default;

Registry::Registry(async::Runtime& runtime, db::Database& database, oci::Launcher& launcher,
                   egress::Egress& egress, snapshot::Vault& vault, Options options)
    : impl_(
          std::make_unique<Impl>(runtime, database, launcher, egress, vault, std::move(options))) {
  impl_->options.limits = FitToHost(impl_->options.limits);
}

Registry::~Registry() = default;

Registry::Impl::EntryPtr Registry::Impl::Lookup(std::string_view id) const {
  std::lock_guard guard(mutex);
  auto found = entries.find(id);
  return found == entries.end() ? nullptr : found->second;
}

Registry::Impl::EntryPtr Registry::Impl::Obtain(const std::string& id) {
  std::lock_guard guard(mutex);
  EntryPtr& entry = entries[id];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

async::Task<Result<Registry::Impl::Held>> Registry::Impl::Hold(std::string id, bool make) {
  while (true) {
    EntryPtr entry = make ? Obtain(id) : Lookup(id);
    if (!entry) co_return NotFound(id);
    async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
    {
      std::lock_guard guard(mutex);
      // Deleted while we waited: whoever comes next makes a new entry.
      if (entry->removed) continue;
      if (!entry->exists && !make) co_return NotFound(id);
    }
    co_return Held{.entry = std::move(entry), .lock = std::move(lock)};
  }
}

void Registry::Impl::Discard(const EntryPtr& entry) {
  std::lock_guard guard(mutex);
  entry->exists = false;
  entry->removed = true;
  std::erase_if(entries, [&](const auto& item) { return item.second == entry; });
}

Info Registry::Impl::InfoOf(const Entry& entry) const {
  const Row& row = entry.row;
  bool restoring = entry.restoring > 0 && row.state == State::kRunning;
  // One that has died is noted in its row when somebody next uses it; it is not shown as running.
  bool dead = row.state == State::kRunning && entry.sandbox != nullptr &&
              HasEnded(entry.sandbox->pidfd_.get());
  State state = row.state;
  if (dead) {
    state = State::kStopped;
  } else if (entry.stopping) {
    state = State::kStopping;
  } else if (restoring) {
    state = State::kRestoring;
  }
  return Info{.id = row.id,
              .iid = row.iid,
              .state = state,
              .image = row.image,
              .limits = row.limits,
              .created_at_ms = row.created_at_ms,
              .failure = row.failure,
              .snapshots = PolicyOf(row),
              .unsaved = row.unsaved,
              .save_failure = row.unsaved ? entry.save_failure : std::string()};
}

void Registry::Impl::SetState(const EntryPtr& entry, State state, const std::string& failure) {
  std::lock_guard guard(mutex);
  entry->row.state = state;
  entry->row.failure = failure;
}

std::shared_ptr<Sandbox> Registry::Impl::Alive(const EntryPtr& entry) const {
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    if (entry->row.state == State::kRunning && !entry->reserved) sandbox = entry->sandbox;
  }
  if (sandbox && HasEnded(sandbox->pidfd_.get())) return nullptr;
  return sandbox;
}

async::Task<Result<std::shared_ptr<Sandbox>>> Registry::Acquire(std::string id) {
  Impl::EntryPtr entry = impl_->Lookup(id);
  if (!entry) co_return NotFound(id);
  if (std::shared_ptr<Sandbox> sandbox = impl_->Alive(entry)) co_return sandbox;
  async::Executor executor = co_await async::ThisExecutor();
  Result<std::shared_ptr<Sandbox>> result;
  co_await async::RunOn(executor, impl_->AcquireInto(std::move(id), result));
  co_return result;
}

async::Task<> Registry::Impl::AcquireInto(std::string id,
                                          Result<std::shared_ptr<Sandbox>>& result) {
  co_await async::DisableCancellation();
  Result<Held> held = co_await Hold(id, false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  EntryPtr entry = held->entry;
  result = Alive(entry);
  if (*result) co_return;
  Info info;
  {
    std::lock_guard guard(mutex);
    info = InfoOf(*entry);
  }
  if (info.state == State::kFailed || info.state == State::kDeleting) {
    result = Fail(Code::kFailedPrecondition,
                  fmt::format("sandbox {} cannot be used, delete it: {}", id, info.failure),
                  "CONTAINER_UNAVAILABLE");
    co_return;
  }
  Phases phases;
  Result<void> started = co_await StartAgain(entry, phases);
  if (!started) {
    result = Unexpected(std::move(started).error());
    co_return;
  }
  std::lock_guard guard(mutex);
  result = entry->sandbox;
}

async::Task<Result<Registry::Created>> Registry::Create(std::string id, CreateOptions options) {
  CO_TRY(ValidateId(id));
  async::Executor executor = co_await async::ThisExecutor();
  Result<Created> result;
  co_await async::RunOn(executor, impl_->CreateInto(std::move(id), std::move(options), result));
  co_return result;
}

async::Task<Result<void>> Registry::Delete(std::string id) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->DeleteInto(std::move(id), result));
  co_return result;
}

async::Task<Result<Registry::Stopped>> Registry::Stop(std::string id) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<Stopped> result;
  co_await async::RunOn(executor, impl_->StopInto(std::move(id), result));
  co_return result;
}

void Registry::OnRestore(AroundRestore around) { impl_->around_restore = std::move(around); }
snapshot::Vault& Registry::vault() { return impl_->vault; }
const snapshot::Retention& Registry::retention() const { return impl_->options.retention; }
const snapshot::AutoPolicy& Registry::default_policy() const { return impl_->options.snapshots; }
async::BlockingPool& Registry::transfers() { return impl_->transfers; }
async::BlockingPool& Registry::streams() { return impl_->streams; }

async::Task<Result<void>> Registry::Reconcile() {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->ReconcileInto(result));
  co_return result;
}

bool Registry::reconciled() const { return impl_->reconciled; }

std::vector<Info> Registry::List() const {
  std::lock_guard guard(impl_->mutex);
  std::vector<Info> infos;
  for (const auto& [id, entry] : impl_->entries) {
    if (entry->exists) infos.push_back(impl_->InfoOf(*entry));
  }
  return infos;
}

std::optional<Info> Registry::Find(std::string_view id) const {
  std::lock_guard guard(impl_->mutex);
  auto found = impl_->entries.find(id);
  if (found == impl_->entries.end() || !found->second->exists) return std::nullopt;
  return impl_->InfoOf(*found->second);
}

}  // namespace atl::sandbox
