// SPDX-License-Identifier: Apache-2.0
// How the daemon ends: asked to, or in favour of a newer one.
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/host_state.h"
#include "gateway/reverse_proxy.h"

namespace atl::daemon {
namespace {

constexpr std::chrono::milliseconds kDrainLimit{10'000};
constexpr std::chrono::milliseconds kTrashLimit{3'000};
// What streams have that began before a newer daemon took over.
constexpr std::chrono::minutes kReplacedLimit{15};
constexpr std::chrono::seconds kSuccessorLimit{60};
constexpr std::chrono::seconds kPassOnLimit{60};
constexpr int kLockAttempts = 200;
// What requests have that are under way when the newer daemon can run.
constexpr std::chrono::milliseconds kRequestsLimit{500};

}  // namespace

async::Task<> Daemon::StartIdle() {
  if (predecessor_) {
    async::Executor executor = co_await async::ThisExecutor();
    async::Stream line(executor, predecessor_->TakeLine());
    char byte = 0;
    Result<size_t> read = co_await line.ReadSome(std::span<char>(&byte, 1));
    (void)read;  // the end, whichever way it comes
  }
  registry_->StartIdle();
}

// Everything that may go wrong does so before the newer daemon is told to go.
async::Task<Result<void>> Daemon::HandOver(Successor& successor) {
  auto can_run = [&successor] { return successor.Await(kCanRun, kSuccessorLimit); };
  CO_TRY(co_await runtime_.blocking().Run(can_run));
  // Who connects from here on is served by the newer one.
  server_->StopAccepting();
  auto until = std::chrono::steady_clock::now() + kRequestsLimit;
  while (!server_->CloseIdle() && std::chrono::steady_clock::now() < until) {
    co_await async::Sleep(std::chrono::milliseconds(5));
  }
  CO_TRY(co_await registry_->Retire());
  lock_.Release();
  Result<void> serves = successor.Say(kGo);
  if (serves) {
    auto await = [&successor] { return successor.Await(kServes, kSuccessorLimit); };
    serves = co_await runtime_.blocking().Run(await);
  }
  if (serves) co_return serves;
  // It may hold the lock: it must be gone before this one goes on.
  successor.End();
  // One that was killed could not take its new schema back.
  auto undo = [this] { return database_->UndoNewerMigration(); };
  Result<void> undone = co_await runtime_.blocking().Run(undo);
  if (!undone) log::Error("{}", undone.error().message);
  auto take = [this] {
    return DaemonLock::Take(config_.run_dir, config_.state_dir, config_.cgroup);
  };
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    Result<DaemonLock> lock = co_await runtime_.blocking().Run(take);
    if (lock) {
      lock_ = *std::move(lock);
      co_return serves;
    }
    co_await async::Sleep(std::chrono::milliseconds(50));
  }
  log::Error("the newer daemon holds {} and does not end: this one gives up", config_.run_dir);
  std::fflush(nullptr);
  ::_exit(1);
}

// A request that came to this daemon, and of which it does nothing any more, is the newer one's. It
// waits where it connects to until that one serves; or this one again, if that does not come to it.
async::Task<bool> Daemon::PassOn(http::Exchange& exchange, const Error& error) {
  if (ReasonOf(error) != "DAEMON_REPLACED" || !exchange.Rewind()) co_return false;
  Result<async::Stream> newer = co_await async::ConnectTcp(own_, kPassOnLimit);
  if (!newer) {
    log::Warning("pass a request on to the newer daemon: {}", newer.error().message);
    co_return false;
  }
  gateway::ProxyPolicy as_it_is;
  co_await gateway::ProxyTo(exchange, *std::move(newer), std::move(as_it_is));
  co_return true;
}

async::Task<> Daemon::Upgrade() {
  std::vector<sys::Fd> listeners;
  for (const BoundListener& listener : bound_) {
    if (auto copy = listener.fd.Duplicate()) listeners.push_back(*std::move(copy));
  }
  auto start = [this, &listeners] { return Successor::Start(origin_, listeners); };
  Result<Successor> successor = co_await runtime_.blocking().Run(start);
  Result<void> replaced;
  if (successor) {
    log::Info("{} (pid {}) is to take over", origin_.program, successor->pid());
    replaced = co_await HandOver(*successor);
  } else {
    replaced = std::unexpected(successor.error());
  }
  if (!replaced) {
    log::Error("no newer daemon takes over, this one goes on: {}", replaced.error().message);
    if (successor) successor->End();
    registry_->Unretire();
    server_->StopAccepting();  // what listens still would listen twice
    server_->Resume();
    Result<void> told = WriteAddress(config_.run_dir, bound_.front().address);
    if (!told) log::Error("{}", told.error().message);
    Result<void> serving = Serve(bound_);
    if (!serving) log::Error("{}", serving.error().message);
    upgrading_ = false;
    co_return;
  }
  log::Info("pid {} serves; what began here goes on to its end", successor->pid());
  notifier_.Tell(fmt::format("MAINPID={}", successor->pid()));
  notifier_.Silence();
  bound_.clear();
  serves_ = false;
  draining_ = true;
  servers_->Retire();
  co_await server_->Drain(kReplacedLimit);
  std::fflush(nullptr);
  ::_exit(0);
}

async::Task<> Daemon::Drain() {
  auto look = [] { return HostIsGoingDown(); };
  notifier_.Tell("STOPPING=1");
  bool host_ends = co_await runtime_.blocking().Run(look);
  if (host_ends) {
    log::Info("stopping with the host: sandboxes are saved");
  } else {
    log::Info("stopping: sandboxes go on running and are adopted at the next start");
  }
  if (host_ends) co_await registry_->SaveAll();
  co_await server_->Drain(kDrainLimit);
  co_await registry_->GiveUpTransfers();
  // What stays is removed at the next start.
  auto empty = [this] { return launcher_->trash().AwaitEmpty(kTrashLimit); };
  co_await runtime_.blocking().Run(empty);
  if (registry_->Count() == 0) (void)launcher_->cgroups().RemoveRoot();
  std::fflush(nullptr);
  // What sandboxes and connections refer to is not taken apart in an order that suits everybody,
  // and nothing of it needs an end: state is in the database, the kernel closes the rest.
  ::_exit(0);
}

}  // namespace atl::daemon
