// SPDX-License-Identifier: Apache-2.0
#include "daemon/serve.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <optional>
#include <span>
#include <thread>

#include "api/ops/ops.h"
#include "api/seed/seed.h"
#include "api/v1/v1.h"
#include "async/runtime.h"
#include "base/log.h"
#include "daemon/host_state.h"
#include "daemon/notify.h"
#include "daemon/open_vault.h"
#include "daemon/pool_setup.h"
#include "daemon/ready.h"
#include "daemon/run_dir.h"
#include "daemon/takeover.h"
#include "db/database.h"
#include "egress/egress.h"
#include "egress/model_gateway.h"
#include "gateway/gateway.h"
#include "http/server.h"
#include "metrics/atoll.h"
#include "oci/launcher.h"
#include "opencode/server.h"
#include "opencode/ui_cache.h"
#include "sandbox/registry.h"
#include "snapshot/vault.h"
#include "sys/mounts.h"

namespace atl::daemon {
namespace {

constexpr int kBlockingThreads = 16;
constexpr std::chrono::milliseconds kDrainLimit{10'000};
constexpr std::chrono::milliseconds kTrashLimit{3'000};
// What streams have that began before a newer daemon took over.
constexpr std::chrono::minutes kReplacedLimit{15};
constexpr std::chrono::seconds kSuccessorLimit{60};
constexpr int kLockAttempts = 200;
// What requests have that are under way when the newer daemon can run.
constexpr std::chrono::milliseconds kRequestsLimit{500};

// A program beside this one, or in the library directory that belongs to where it is installed.
Result<std::string> Sibling(std::string_view name) {
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  if (n < 0) return FailErrno(errno, "find this program's own path");
  std::string path(self, static_cast<size_t>(n));
  path.resize(path.rfind('/') + 1);
  std::string installed = fmt::format("{}../lib/atoll/{}", path, name);
  if (::access(installed.c_str(), X_OK) == 0) return installed;
  path += name;
  if (::access(path.c_str(), X_OK) != 0) return FailErrno(errno, path);
  return path;
}

// Every sandbox, connection and stream costs descriptors: use what the host grants.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

sandbox::Options SandboxOptions(const Config& config, std::string agent_binary) {
  sandbox::Options options;
  options.state_dir = config.state_dir;
  options.run_dir = config.run_dir;
  options.images_dir = config.images_dir;
  options.snapshots_dir = config.snapshots.dir;
  options.agent_binary = std::move(agent_binary);
  options.opencode_binary = config.opencode_binary();
  options.cgroup = config.cgroup;
  options.default_image = config.image;
  options.limits = {.memory_bytes = config.memory_bytes,
                    .cpus = config.cpus,
                    .pids = config.pids,
                    .disk_bytes = config.limits.disk_bytes,
                    .inodes = config.limits.inodes,
                    .weight = config.limits.weight};
  options.open_files = config.limits.open_files;
  options.admission = config.limits.admission;
  options.snapshots = config.snapshots.automatic;
  options.retention = config.snapshots.retention;
  options.prune_interval = config.snapshots.prune_interval;
  options.sleep = config.sleep;
  options.busy_cpus = config.busy_cpus;
  return options;
}

Result<egress::Options> EgressOptions(const Config& config) {
  egress::Options options;
  options.host_ports = config.host_ports;
  options.deny = config.deny;
  for (const std::string& text : config.nameservers) {
    // With a port, or without one: "192.0.2.53", "[2001:db8::1]:53", "2001:db8::1".
    Result<async::Endpoint> endpoint = async::ParseEndpoint(text);
    if (!endpoint) endpoint = async::ParseEndpoint(text + ":53");
    if (!endpoint) endpoint = async::ParseEndpoint(fmt::format("[{}]:53", text));
    if (!endpoint) {
      return std::unexpected(std::move(endpoint).error().Wrap("[egress] nameservers"));
    }
    options.nameservers.push_back(std::move(*endpoint));
  }
  return options;
}

struct BoundListener {
  sys::Fd fd;
  uint16_t port = 0;
  std::string address;
};

// Everything that lives as long as the daemon, made from the bottom up.
class Daemon {
 public:
  static Result<std::unique_ptr<Daemon>> Make(Config config, Origin origin,
                                              std::optional<Predecessor> predecessor,
                                              Notifier notifier);
  Result<void> Start(std::vector<async::Endpoint> endpoints);

 private:
  explicit Daemon(Config config, RunDirLock lock)
      : config_(std::move(config)),
        lock_(std::move(lock)),
        runtime_(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 2U, 8U)),
                 kBlockingThreads),
        model_gateway_(config_.model.upstream) {}

  Result<void> MakeParts();
  void OpenUi();
  void MakeRoutes();
  async::Task<> HandleBare(http::Exchange& exchange);
  async::Task<> StartTask(std::vector<async::Endpoint> endpoints, Result<void>& result);
  Result<std::vector<BoundListener>> Bind(const std::vector<async::Endpoint>& endpoints);
  Result<void> Listen(const std::vector<async::Endpoint>& endpoints);
  async::Task<> AroundRestore(std::string id, std::string dir, bool begins);
  async::Task<> Drain();
  async::Task<> Upgrade();
  async::Task<Result<void>> HandOver(Successor& successor);
  async::Task<> StartIdle();
  Result<void> Serve(std::span<const BoundListener> listeners);

  Config config_;
  Origin origin_;
  std::optional<Predecessor> predecessor_;
  std::vector<BoundListener> bound_;  // copies, for a successor
  Notifier notifier_;
  RunDirLock lock_;
  async::Runtime runtime_;
  egress::ModelGateway model_gateway_;
  std::unique_ptr<db::Database> database_;
  std::unique_ptr<oci::Launcher> launcher_;
  std::unique_ptr<egress::Egress> egress_;
  std::unique_ptr<snapshot::Vault> vault_;
  std::unique_ptr<sandbox::Registry> registry_;
  std::unique_ptr<opencode::Servers> servers_;
  std::unique_ptr<opencode::UiCache> ui_;
  std::unique_ptr<api::Seed> seed_;
  std::unique_ptr<api::V1> v1_;
  std::unique_ptr<api::Ops> ops_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
  bool draining_ = false;
  bool upgrading_ = false;
};

Result<void> Daemon::MakeParts() {
  TRY(sys::MakeDirs(config_.state_dir, 0711));
  TRY(sys::MakeDirs(config_.images_dir));
  ASSIGN(std::string agent_binary, Sibling("atoll-agent"));
  sandbox::Options options = SandboxOptions(config_, std::move(agent_binary));
  if (options.opencode_binary.empty()) {
    log::Warning("OpenCode is not in {}; sandboxes work, their UI does not", config_.opencode_dir);
  }
  ASSIGN(database_, db::Database::Open(config_.state_dir + "/atoll.db"));
  ASSIGN(launcher_, oci::Launcher::Open(sandbox::LauncherConfigOf(options)));
  vault_ = MakeVault(runtime_, config_.snapshots, true);
  ASSIGN(egress::Options egress_options, EgressOptions(config_));
  auto model = [this](std::string iid, http::Exchange& exchange) {
    return model_gateway_.Handle(std::move(iid), exchange);
  };
  ASSIGN(egress_, egress::Egress::Make(runtime_, std::move(egress_options), model));
  registry_ = std::make_unique<sandbox::Registry>(runtime_, *database_, *launcher_, *egress_,
                                                  *vault_, std::move(options));
  servers_ = std::make_unique<opencode::Servers>(runtime_, *registry_, OpencodeOptions(config_));
  registry_->OnRestore([this](std::string id, std::string dir, bool begins) {
    return AroundRestore(std::move(id), std::move(dir), begins);
  });
  registry_->SetUpPool(PoolOptionsOf(config_), PoolHooksOf(config_, *servers_));
  return {};
}

// A server whose files change under it would write its old state over the new.
async::Task<> Daemon::AroundRestore(std::string id, std::string dir, bool begins) {
  if (!opencode::KeepsStateIn(dir)) co_return;
  if (begins) {
    co_await servers_->Suspend(std::move(id));
  } else {
    servers_->Resume(std::move(id));
  }
}

void Daemon::OpenUi() {
  std::string binary = config_.opencode_binary();
  if (binary.empty()) return;
  auto loaded = opencode::UiCache::Load(config_.opencode_ui_dir(), binary, runtime_.blocking());
  if (loaded) {
    ui_ = std::move(*loaded);
  } else {
    log::Warning("OpenCode's page waits until OpenCode has started: {}", loaded.error().message);
  }
}

void Daemon::MakeRoutes() {
  seed_ = std::make_unique<api::Seed>(*registry_, *servers_, config_.domain);
  v1_ = std::make_unique<api::V1>(*registry_, *servers_, config_.domain);
  auto seed = [this](std::string id, http::Exchange& exchange) {
    return seed_->Handle(std::move(id), exchange);
  };
  MeasureSandboxes(*registry_);
  ops_ = std::make_unique<api::Ops>(metrics::Get().set,
                                    ReadyChecks(config_, *database_, *launcher_, *registry_));
  auto bare = [this](http::Exchange& exchange) { return HandleBare(exchange); };
  gateway::Options options;
  options.domain = config_.domain;
  options.event_stream_is_activity = config_.event_stream_is_activity;
  OpenUi();
  options.ui = ui_.get();
  gateway_ = std::make_unique<gateway::Gateway>(options, *registry_, *servers_, seed, bare);
  auto handle = [this](http::Exchange& exchange) { return gateway_->Handle(exchange); };
  server_ = std::make_unique<http::Server>(handle, http::ServerOptions());
}

async::Task<> Daemon::HandleBare(http::Exchange& exchange) {
  bool answered = co_await ops_->Handle(exchange);
  if (!answered) co_await v1_->Handle(exchange);
}

Result<std::unique_ptr<Daemon>> Daemon::Make(Config config, Origin origin,
                                             std::optional<Predecessor> predecessor,
                                             Notifier notifier) {
  if (predecessor) TRY(predecessor->AwaitTurn());
  ASSIGN(RunDirLock lock, RunDirLock::Take(config.run_dir));
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(config), std::move(lock)));
  daemon->origin_ = std::move(origin);
  daemon->predecessor_ = std::move(predecessor);
  daemon->notifier_ = std::move(notifier);
  TRY(daemon->MakeParts());
  daemon->MakeRoutes();
  return daemon;
}

// Binds every address, or says why not; a host without IPv6 goes on without it.
Result<std::vector<BoundListener>> Daemon::Bind(const std::vector<async::Endpoint>& endpoints) {
  std::vector<BoundListener> bound;
  for (const async::Endpoint& endpoint : endpoints) {
    sys::Fd inherited;
    if (predecessor_) inherited = predecessor_->TakeListener(endpoint.address, endpoint.port);
    Result<sys::Fd> fd =
        inherited ? Result<sys::Fd>(std::move(inherited)) : async::Listener::BindTcp(endpoint);
    bool absent =
        !fd && (fd.error().sys_errno == EADDRNOTAVAIL || fd.error().sys_errno == EAFNOSUPPORT);
    if (absent && &endpoint != &endpoints.front()) {
      log::Warning("{}; going on without it", fd.error().message);
      continue;
    }
    if (!fd) {
      return std::unexpected(
          std::move(fd).error().Wrap("is another daemon running? set `listen` to another port"));
    }
    ASSIGN(sys::Fd copy, fd->Duplicate());
    uint16_t port = async::Listener(runtime_.shard(0), std::move(copy)).port();
    if (std::ranges::find(config_.host_ports, port) != config_.host_ports.end()) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("[egress] host_ports: {} is Atoll's own port; a sandbox that reached "
                              "it could command every other one",
                              port),
                  "BAD_CONFIG");
    }
    bool v6 = endpoint.address.find(':') != std::string::npos;
    bound.push_back(
        {.fd = std::move(*fd),
         .port = port,
         .address = fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), endpoint.address, port)});
  }
  return bound;
}

Result<void> Daemon::Listen(const std::vector<async::Endpoint>& endpoints) {
  ASSIGN(std::vector<BoundListener> bound, Bind(endpoints));
  TRY(WriteAddress(config_.run_dir, bound.front().address));
  uint16_t port = bound.front().port;
  TRY(Serve(bound));
  bound_ = std::move(bound);
  if (predecessor_) predecessor_->SayServing();
  fmt::print("Atoll is at http://{}:{}\n", config_.domain, port);
  std::fflush(stdout);
  // The manager knows the process that it has started; this may be another.
  notifier_.Tell(
      fmt::format("READY=1\nMAINPID={}\nSTATUS=serving at {}", ::getpid(), bound_.front().address));
  return {};
}

async::Task<> Daemon::StartTask(std::vector<async::Endpoint> endpoints, Result<void>& result) {
  result = co_await registry_->Load();
  // Served from here on: whoever asks for a sandbox that is not yet looked at waits for it alone.
  if (result) result = Listen(endpoints);
  if (result) result = co_await registry_->Reconcile();
  if (result) {
    registry_->StartAutomatic();
    registry_->StartPool();
    async::Spawn(runtime_.shard(0), StartIdle(), "wait for the earlier daemon");
  }
  if (result) co_await servers_->Adopt();
  if (!result) runtime_.Stop();
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

Result<void> Daemon::Serve(std::span<const BoundListener> listeners) {
  for (const BoundListener& listener : listeners) {
    ASSIGN(sys::Fd copy, listener.fd.Duplicate());
    server_->Listen(std::move(copy), runtime_.shard(0), [this] { return runtime_.NextShard(); });
  }
  return {};
}

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
  auto take = [this] { return RunDirLock::Take(config_.run_dir); };
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    Result<RunDirLock> lock = co_await runtime_.blocking().Run(take);
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
    Result<void> serving = Serve(bound_);
    if (!serving) log::Error("{}", serving.error().message);
    upgrading_ = false;
    co_return;
  }
  log::Info("pid {} serves; what began here goes on to its end", successor->pid());
  notifier_.Tell(fmt::format("MAINPID={}", successor->pid()));
  notifier_.Silence();
  bound_.clear();
  draining_ = true;
  servers_->Retire();
  co_await server_->Drain(kReplacedLimit);
  std::fflush(nullptr);
  ::_exit(0);
}

Result<void> Daemon::Start(std::vector<async::Endpoint> endpoints) {
  runtime_.OnUpgrade([this] {
    if (draining_ || upgrading_ || bound_.empty()) return;
    upgrading_ = true;
    async::Spawn(runtime_.shard(0), Upgrade(), "upgrade");
  });
  runtime_.OnTerminate([this] {
    // A second signal does not wait.
    if (draining_) {
      registry_->ThawAll();
      ::_exit(0);
    }
    draining_ = true;
    async::Spawn(runtime_.shard(0), Drain(), "drain");
  });
  Result<void> result;
  if (notifier_.watchdog_pause()) {
    async::Spawn(runtime_.shard(0), FeedWatchdog(runtime_, notifier_), "feed the watchdog");
  }
  async::Spawn(runtime_.shard(0), StartTask(std::move(endpoints), result), "start");
  runtime_.Run();
  return result;
}

}  // namespace

Result<void> Serve(Config config) {
  ASSIGN(std::optional<Predecessor> predecessor, Predecessor::FromEnvironment());
  ASSIGN(Origin origin, Origin::Remember());
  // Who takes over becomes the manager's main process, whose number the variables still are.
  Notifier notifier = Notifier::FromEnvironment(predecessor.has_value());
  TRY(log::Init(config.log_level, config.log_format));
  ASSIGN(std::vector<async::Endpoint> endpoints, ListenEndpoints(config));
  if (::geteuid() != 0) {
    return Fail(Code::kPermissionDenied,
                "Atoll makes namespaces and mounts, so it must be started by root");
  }
  // Archive names and paths are UTF-8 whatever the caller's locale says.
  std::setlocale(LC_CTYPE, "C.UTF-8");
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0022);
  RaiseDescriptorLimit();
  // Heaps are shared by many threads that work in turns, and large pieces go back when they are
  // freed.
  ::mallopt(M_ARENA_MAX, 4);
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 4 << 20);
  TRY(sys::EnterPrivateMountNamespace());
  Result<std::unique_ptr<Daemon>> daemon = Daemon::Make(
      std::move(config), std::move(origin), std::move(predecessor), std::move(notifier));
  if (!daemon) return std::unexpected(std::move(daemon).error());
  Result<void> result = (*daemon)->Start(std::move(endpoints));
  if (result) return result;
  log::Error("could not start: {}", result.error().message);
  std::fflush(nullptr);
  ::_exit(1);
}

}  // namespace atl::daemon
