// SPDX-License-Identifier: Apache-2.0
#include "opencode/server.h"

#include "opencode/launch.h"
#include "opencode/server_impl.h"

namespace atl::opencode {

using std::chrono::milliseconds;

ServerPtr Servers::Impl::Find(std::string_view id) const {
  std::optional<sandbox::Info> info = registry.Find(id);
  if (!info) return nullptr;
  std::lock_guard lock(mutex);
  auto it = servers.find(info->iid);
  return it == servers.end() ? nullptr : it->second;
}

ServerPtr Servers::Impl::Obtain(std::string_view id) {
  std::optional<sandbox::Info> info = registry.Find(id);
  if (!info) return nullptr;
  std::lock_guard lock(mutex);
  ServerPtr& server = servers[info->iid];
  if (server) return server;
  server = std::make_shared<Server>(info->iid);
  server->id = id;
  return server;
}

bool Servers::Impl::Runs(const ServerPtr& server) const {
  if (retired) return false;
  std::string id = IdOf(server);
  std::optional<sandbox::Info> info = registry.Find(id);
  return info && info->iid == server->iid && info->state == sandbox::State::kRunning;
}

std::string Servers::Impl::IdOf(const ServerPtr& server) const {
  std::lock_guard lock(mutex);
  return server->id;
}

bool Servers::Impl::IsSuspended(const ServerPtr& server) const {
  std::lock_guard lock(mutex);
  return server->suspensions > 0;
}

void Servers::Impl::Reset(Server& server) {
  server.number = 0;
  server.status = Status::kStopped;
  if (server.settled) server.settled->Set();
}

Servers::Servers(async::Runtime& runtime, sandbox::Registry& registry, Options options)
    : impl_(std::make_shared<Impl>(runtime, registry, std::move(options))) {
  registry.OnBoots([weak = std::weak_ptr<Impl>(impl_)]() -> size_t {
    std::shared_ptr<Impl> impl = weak.lock();
    return impl ? impl->boots.load() : 0;
  });
}
Servers::~Servers() = default;

void Servers::Start(std::string id) {
  ServerPtr server = impl_->Obtain(id);
  if (server) Impl::Begin(impl_, server);
}

async::Task<Result<void>> Servers::Prepare(std::shared_ptr<sandbox::Sandbox> sandbox) {
  CO_TRY(co_await BringUp(sandbox->agent(), impl_->options, true));
  co_return Result<void>();
}

void Servers::NotePrepared(std::string_view id) {
  ServerPtr server = impl_->Obtain(id);
  if (server) Impl::Take(impl_, server);
}

async::Task<> Servers::Adopt() {
  std::shared_ptr<Impl> impl = impl_;
  for (const sandbox::Info& info : impl->registry.List()) {
    if (info.state != sandbox::State::kRunning) continue;
    std::shared_ptr<sandbox::Sandbox> sandbox = impl->registry.Observe(info.id);
    if (!sandbox) continue;
    Result<bool> running = co_await IsRunning(sandbox->agent());
    if (running && *running) Start(info.id);
  }
}

namespace {

async::Task<> WaitFor(std::shared_ptr<async::Event> event) { co_await event->Wait(); }

// What of a wait that took `took` was for the sandbox; the rest was for OpenCode.
sandbox::Waited Shares(sandbox::Waited waited, Clock::duration took) {
  double all = std::chrono::duration<double, std::milli>(took).count();
  double sandbox = waited.queue_ms + waited.wake_ms + waited.start_ms;
  // Whoever came while it was under way has waited for a part, nobody knows of what.
  if (sandbox > all) return {.opencode_ms = all};
  waited.opencode_ms = all - sandbox;
  return waited;
}

}  // namespace

async::Task<Result<void>> Servers::WaitReady(std::string id, milliseconds limit,
                                             sandbox::Waited* waited) {
  std::shared_ptr<Impl> impl = impl_;
  ServerPtr server = impl->Obtain(id);
  if (!server) {
    co_return Fail(Code::kNotFound, "there is no sandbox " + id, "SANDBOX_NOT_FOUND");
  }
  std::shared_ptr<async::Event> settled = Impl::Begin(impl, server);
  if (!settled) co_return Result<void>();
  Clock::time_point begin = Clock::now();
  bool in_time = co_await async::WithTimeout(limit, WaitFor(settled));
  if (!in_time) {
    co_return Fail(Code::kUnavailable, "OpenCode is still starting", "OPENCODE_STARTUP_FAILED");
  }
  bool gone = impl->Find(id) != server;
  std::lock_guard lock(impl->mutex);
  if (waited != nullptr) waited->Add(Shares(server->waited, Clock::now() - begin));
  if (gone) {
    co_return Fail(Code::kNotFound, "the sandbox was deleted meanwhile", "SANDBOX_NOT_FOUND");
  }
  if (server->status == Status::kReady) co_return Result<void>();
  if (server->failure) co_return Unexpected(*server->failure);
  co_return Fail(Code::kUnavailable, "OpenCode ended right after its start",
                 "OPENCODE_STARTUP_FAILED");
}

Status Servers::status(std::string_view id) const {
  ServerPtr server = impl_->Find(id);
  if (!server) return Status::kStopped;
  std::lock_guard lock(impl_->mutex);
  return server->status;
}

std::string Servers::failure(std::string_view id) const {
  ServerPtr server = impl_->Find(id);
  if (!server) return {};
  std::lock_guard lock(impl_->mutex);
  return server->failure ? server->failure->message : std::string();
}

async::Task<> Servers::Suspend(std::string id) {
  std::shared_ptr<Impl> impl = impl_;
  ServerPtr server = impl->Obtain(id);
  if (!server) co_return;
  {
    std::lock_guard lock(impl->mutex);
    ++server->suspensions;
  }
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await impl->registry.Acquire(id);
  if (!sandbox) co_return;
  Result<bool> running = co_await IsRunning((*sandbox)->agent());
  if (!running || !*running) co_return;
  {
    // Its end is wanted, so it counts for nothing.
    std::lock_guard lock(impl->mutex);
    server->resume = true;
    Impl::Reset(*server);
  }
  co_await End((*sandbox)->agent());
}

void Servers::Resume(std::string id) {
  ServerPtr server = impl_->Find(id);
  if (!server) return;
  {
    std::lock_guard lock(impl_->mutex);
    if (server->suspensions == 0) return;
    --server->suspensions;
    if (server->suspensions > 0) return;
    if (!std::exchange(server->resume, false)) return;
  }
  Impl::Begin(impl_, server);
}

void Servers::Rename(std::string_view from, std::string to) {
  std::lock_guard lock(impl_->mutex);
  for (auto& [iid, server] : impl_->servers) {
    if (server->id == from) server->id = to;
  }
}

void Servers::Retire() { impl_->retired = true; }
bool Servers::retired() const { return impl_->retired; }

void Servers::Doubt(std::string_view id) {
  ServerPtr server = impl_->Find(id);
  if (!server) return;
  std::lock_guard lock(impl_->mutex);
  if (server->status == Status::kReady) Impl::Reset(*server);
}

void Servers::Forget(std::string_view id) {
  std::lock_guard lock(impl_->mutex);
  std::erase_if(impl_->servers, [id](auto& item) {
    if (item.second->id != id) return false;
    Impl::Reset(*item.second);
    return true;
  });
}

}  // namespace atl::opencode
