// SPDX-License-Identifier: Apache-2.0
#include "sandbox/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/log.h"
#include "sandbox/id.h"
#include "sandbox/pid_one.h"
#include "sandbox/registry_impl.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

// A request to a stopped sandbox starts it, and would rather wait a little than fail.
constexpr std::chrono::seconds kStartWait{20};

// A clock that costs next to nothing and moves by some milliseconds.
int64_t CoarseNow() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
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
                             .open_files = options.open_files,
                             .disk_reserve = options.admission.disk_reserve,
                             .runtime_deadline = options.runtime_deadline,
                             .checkpoint_deadline = options.checkpoint_deadline};
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
  if (IsMemberId(id)) return nullptr;
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
    if (!entry) co_return Unexpected(NoSuchSandbox(id));
    CO_ASSIGN(async::Mutex::Lock lock, co_await AwaitTurn(entry->lifecycle));
    {
      std::lock_guard guard(mutex);
      // Deleted while we waited: whoever comes next makes a new entry.
      if (entry->removed) continue;
      if (!entry->exists && !make) co_return Unexpected(NoSuchSandbox(id));
    }
    co_return Held{.entry = std::move(entry), .lock = std::move(lock)};
  }
}

void Registry::Impl::Discard(const EntryPtr& entry) {
  std::lock_guard guard(mutex);
  services.Drop(entry->row.iid);
  entry->exists = false;
  entry->removed = true;
  std::erase_if(entries, [&](const auto& item) { return item.second == entry; });
}

Info Registry::Impl::InfoOf(const Entry& entry) const {
  const Row& row = entry.row;
  bool restoring = entry.restoring > 0 && row.state == State::kRunning;
  // One that has died is noted in its row when somebody next uses it; it is not shown as running.
  bool lives = row.state == State::kRunning || row.state == State::kPaused;
  bool dead = lives && entry.sandbox != nullptr && HasEnded(entry.sandbox->pidfd_.get());
  State state = row.state;
  if (dead) {
    state = State::kStopped;
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
              .sleep = SleepOf(row),
              .unsaved = row.unsaved,
              .save_failure = row.unsaved ? entry.save_failure : std::string(),
              .uses = entry.activity->uses(),
              .memory_kept = row.state == State::kStopped && launcher.HasMemory(row.iid)};
}

void Registry::Impl::SetState(const EntryPtr& entry, State state, const std::string& failure) {
  std::lock_guard guard(mutex);
  entry->row.state = state;
  entry->row.failure = failure;
}

std::shared_ptr<Sandbox> Registry::Impl::Living(const EntryPtr& entry) const {
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    State state = entry->row.state;
    bool lives = state == State::kRunning || state == State::kPaused;
    if (lives && !entry->reserved) sandbox = entry->sandbox;
  }
  if (sandbox && HasEnded(sandbox->pidfd_.get())) return nullptr;
  return sandbox;
}

std::shared_ptr<Sandbox> Registry::Impl::Alive(const EntryPtr& entry) const {
  std::shared_ptr<Sandbox> sandbox = Living(entry);
  std::lock_guard guard(mutex);
  return entry->row.state == State::kRunning ? sandbox : nullptr;
}

namespace {

// In use from its making to its end.
struct Use {
  Use(std::shared_ptr<Activity> of, std::shared_ptr<Sandbox> used)
      : activity(std::move(of)), sandbox(std::move(used)) {
    activity->Begin();
  }
  ~Use() { activity->End(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  std::shared_ptr<Activity> activity;
  std::shared_ptr<Sandbox> sandbox;
};

}  // namespace

std::shared_ptr<Sandbox> Registry::Impl::Lease(const EntryPtr& entry) const {
  std::shared_ptr<Use> use;
  {
    // Counted under the mutex under which a sandbox is declared asleep: one of both sees the other.
    std::lock_guard guard(mutex);
    if (entry->row.state != State::kRunning || entry->reserved || !entry->sandbox) return nullptr;
    use = std::make_shared<Use>(entry->activity, entry->sandbox);
  }
  // Requests come by the ten thousand a second: asked once a tick of the kernel's clock.
  int64_t tick = CoarseNow();
  if (entry->alive_at.load(std::memory_order_relaxed) != tick) {
    if (HasEnded(use->sandbox->pidfd_.get())) return nullptr;
    entry->alive_at.store(tick, std::memory_order_relaxed);
  }
  Sandbox* sandbox = use->sandbox.get();
  return std::shared_ptr<Sandbox>(std::move(use), sandbox);
}

std::shared_ptr<Sandbox> Registry::Observe(std::string_view id) const {
  Impl::EntryPtr entry = impl_->Lookup(id);
  return entry ? impl_->Living(entry) : nullptr;
}

async::Task<Result<std::shared_ptr<Sandbox>>> Registry::Acquire(std::string id, Waited* waited) {
  Impl::EntryPtr entry = impl_->Lookup(id);
  if (!entry) co_return Unexpected(NoSuchSandbox(id));
  if (std::shared_ptr<Sandbox> sandbox = impl_->Lease(entry)) co_return sandbox;
  Stopwatch watch;
  const Impl::AskedFor nothing;
  CO_ASSIGN(Admission::Ticket ticket, co_await impl_->Admit(id, nothing, kStartWait));
  async::Executor executor = co_await async::ThisExecutor();
  Result<std::shared_ptr<Sandbox>> result;
  Waited own;
  // Having looked is no waiting.
  if (double ms = watch.Lap(); ms >= 1) own.queue_ms = ms;
  co_await async::RunOn(executor, impl_->AcquireInto(std::move(id), result, &own));
  if (waited != nullptr) waited->Add(own);
  co_return result;
}

async::Task<> Registry::Impl::AcquireInto(std::string id, Result<std::shared_ptr<Sandbox>>& result,
                                          Waited* waited) {
  co_await async::DisableCancellation();
  WantAwake(id);
  Result<Held> held = co_await Hold(id, false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  Phases phases;
  Result<void> runs = co_await MakeRun(held->entry, phases, nullptr, waited);
  if (!runs) {
    result = Unexpected(std::move(runs).error());
    co_return;
  }
  result = Lease(held->entry);
  if (*result) co_return;
  result = Fail(Code::kUnavailable, fmt::format("sandbox {} has ended right after its start", id),
                "CONTAINER_UNAVAILABLE");
}

async::Task<Result<void>> Registry::Impl::MakeRun(EntryPtr entry, Phases& phases,
                                                  std::vector<Recovered>* recovered,
                                                  Waited* waited) {
  if (Alive(entry)) co_return Result<void>();
  State state = State::kFailed;
  std::string failure;
  {
    std::lock_guard guard(mutex);
    state = entry->row.state;
    failure = entry->row.failure;
  }
  if (state == State::kDeleting) {
    co_return Fail(Code::kFailedPrecondition,
                   fmt::format("sandbox {} is being deleted: {}", entry->row.id, failure),
                   "CONTAINER_UNAVAILABLE");
  }
  Stopwatch watch;
  std::shared_ptr<Sandbox> asleep = state == State::kPaused ? Living(entry) : nullptr;
  if (asleep) {
    Result<void> thawed = co_await Thaw(entry);
    phases.emplace_back("wake", watch.Lap());
    waited->wake_ms += phases.back().second;
    // Killed in its sleep it could not end: what stands still does not, and PID 1 goes last.
    bool ends = thawed && IsEnding(asleep->pid());
    if (thawed && !ends) co_return thawed;
    log::Warning("sandbox {} cannot be woken and is started again: {}", entry->row.id,
                 ends ? "it was killed while it slept" : thawed.error().message);
    auto end = [&asleep] { AwaitEnd(asleep->pidfd_.get()); };
    if (ends) co_await runtime.blocking().Run(end);
    asleep.reset();
  }
  watch.Lap();
  Result<void> started = co_await StartAgain(entry, phases, recovered);
  waited->start_ms += watch.Lap();
  for (const auto& [name, ms] : phases) {
    if (name == "recover") waited->restore_ms += ms;
  }
  co_return started;
}

async::Task<Result<Registry::Created>> Registry::Create(std::string id, CreateOptions options) {
  CO_TRY(ValidateId(id));
  async::Executor executor = co_await async::ThisExecutor();
  Result<Created> result;
  const Impl::AskedFor asked{.memory_bytes = options.memory_bytes,
                             .disk_bytes = options.disk_bytes};
  Result<Admission::Ticket> ticket =
      co_await impl_->Admit(id, asked, std::chrono::milliseconds(0), false);
  if (!ticket) {
    Result<Admission::Ticket> claim = co_await impl_->AdmitClaim(id, options);
    if (claim) {
      CreateOptions from_pool = options;
      from_pool.only_from_pool = true;
      co_await async::RunOn(executor, impl_->CreateInto(id, std::move(from_pool), result));
      if (result || ReasonOf(result.error()) != "POOL_EMPTY") co_return result;
      claim->Release();
    }
    ticket = co_await impl_->Admit(id, asked, options.wait);
    if (!ticket) co_return Unexpected(std::move(ticket).error());
  }
  co_await async::RunOn(executor, impl_->CreateInto(std::move(id), std::move(options), result));
  co_return result;
}

async::Task<Result<void>> Registry::Delete(std::string id) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->DeleteInto(std::move(id), result));
  co_return result;
}

async::Task<Result<void>> Registry::Impl::CheckMemory() {
  auto ask = [this] { return launcher.CanCheckpoint(); };
  Result<void> can = co_await runtime.blocking().Run(ask);
  if (can) co_return can;
  co_return Fail(Code::kFailedPrecondition, can.error().message, "MEMORY_UNSUPPORTED");
}

async::Task<Result<Registry::Stopped>> Registry::Stop(std::string id, bool keep_memory) {
  if (keep_memory) {
    CO_TRY(co_await impl_->CheckMemory());
  }
  async::Executor executor = co_await async::ThisExecutor();
  Result<Stopped> result;
  Impl::StopHow how{.keep_memory = keep_memory, .why = "its owner stops it"};
  co_await async::RunOn(executor, impl_->StopInto(std::move(id), std::move(how), result));
  co_return result;
}

void Registry::OnFork(ForkHooks hooks) { impl_->fork_hooks = std::move(hooks); }
void Registry::OnBoots(std::function<size_t()> count) { impl_->count_boots = std::move(count); }
void Registry::OnRestore(AroundRestore around) { impl_->around_restore = std::move(around); }
snapshot::Vault& Registry::vault() { return impl_->vault; }
const snapshot::Retention& Registry::retention() const { return impl_->options.retention; }
const snapshot::AutoPolicy& Registry::default_policy() const { return impl_->options.snapshots; }
const SleepPolicy& Registry::default_sleep() const { return impl_->options.sleep; }
EventLog& Registry::events() { return impl_->events; }
ServiceBook& Registry::services() { return impl_->services; }
async::BlockingPool& Registry::blocking() { return impl_->runtime.blocking(); }
async::BlockingPool& Registry::transfers() { return impl_->transfers; }
async::BlockingPool& Registry::streams() { return impl_->streams; }
async::BlockingPool& Registry::downloads() { return impl_->downloads; }

async::Task<Result<void>> Registry::Load() {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->LoadInto(result));
  co_return result;
}

async::Task<Result<void>> Registry::Sleep(std::string id, bool force) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->SleepInto(std::move(id), force, result));
  co_return result;
}

async::Task<Result<void>> Registry::Wake(std::string id, Waited* waited) {
  CO_TRY(co_await Acquire(std::move(id), waited));
  co_return Result<void>();
}

async::Task<Result<Info>> Registry::Change(std::string id, Changes changes) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<Info> result;
  co_await async::RunOn(executor, impl_->ChangeInto(std::move(id), std::move(changes), result));
  co_return result;
}

async::Task<Result<void>> Registry::Locked(std::string id, LockedWork work) {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->LockedInto(std::move(id), std::move(work), result));
  co_return result;
}

async::Task<Result<void>> Registry::Reconcile() {
  async::Executor executor = co_await async::ThisExecutor();
  Result<void> result;
  co_await async::RunOn(executor, impl_->ReconcileInto(result));
  std::vector<std::string> ids;
  {
    std::lock_guard guard(impl_->mutex);
    ids.swap(impl_->to_start);
  }
  if (!ids.empty()) {
    async::Spawn(impl_->runtime.NextShard(), StartUnasked(std::move(ids)), "start what ran before");
  }
  co_return result;
}

bool Registry::reconciled() const { return impl_->reconciled; }

std::vector<Info> Registry::List() const {
  std::lock_guard guard(impl_->mutex);
  std::vector<Info> infos;
  for (const auto& [id, entry] : impl_->entries) {
    if (entry->exists && !IsMemberId(id)) infos.push_back(impl_->InfoOf(*entry));
  }
  return infos;
}

std::optional<Info> Registry::Find(std::string_view id) const {
  if (IsMemberId(id)) return std::nullopt;
  std::lock_guard guard(impl_->mutex);
  auto found = impl_->entries.find(id);
  if (found == impl_->entries.end() || !found->second->exists) return std::nullopt;
  return impl_->InfoOf(*found->second);
}

}  // namespace atl::sandbox
