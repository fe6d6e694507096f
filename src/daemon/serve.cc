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

#include "api/bridge/bridge.h"
#include "api/sdk/sdk.h"
#include "api/v1/suggestions.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/open_vault.h"
#include "daemon/pool_setup.h"
#include "daemon/ready.h"
#include "metrics/atoll.h"
#include "sys/cgroup_moves.h"
#include "sys/mounts.h"

namespace atl::daemon {
namespace {

constexpr int kBlockingThreads = 16;

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
  options.limits = {.memory_bytes = config.memory_bytes, .cpus = config.cpus, .pids = config.pids};
  ApplyLimits(config.limits, options);
  options.snapshots = config.snapshots.automatic;
  options.retention = config.snapshots.retention;
  options.prune_interval = config.snapshots.prune_interval;
  options.sleep = config.sleep;
  options.busy_cpus = config.busy_cpus;
  options.reclaim_after = config.reclaim_after;
  options.keep_memory = config.keep_memory;
  options.buckets = config.buckets;
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

}  // namespace

Daemon::Daemon(Config config, DaemonLock lock)
    : config_(std::move(config)),
      lock_(std::move(lock)),
      runtime_(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 2U, 8U)),
               kBlockingThreads),
      model_gateway_(config_.model.upstream) {}

// Nothing of the state is changed, so that an earlier daemon can go on when something is wrong.
Result<void> Daemon::MakeParts() {
  TRY(sys::MakeDirs(config_.state_dir, 0711));
  TRY(sys::MakeDirs(config_.images_dir));
  ASSIGN(std::string agent_binary, Sibling("atoll-agent"));
  sandbox::Options options = SandboxOptions(config_, std::move(agent_binary));
  if (options.opencode_binary.empty()) {
    log::Warning("OpenCode is not in {}; sandboxes work, their UI does not", config_.opencode_dir);
  }
  ASSIGN(database_,
         db::Database::Open(config_.state_dir + "/atoll.db", db::Database::Mode::kUnmigrated));
  oci::LauncherConfig launcher = sandbox::LauncherConfigOf(options);
  launcher.criu = config_.pool.criu;
  ASSIGN(launcher_, oci::Launcher::Open(std::move(launcher)));
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
  registry_->OnFork(ForkHooksOf(*servers_));
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

// The last step before it serves: what fails from here on takes the new schema back.
Result<void> Daemon::Migrate() {
  TRY(database_->Migrate());
  ASSIGN(ports_, sandbox::Ports::Open(*registry_, *database_, config_.state_dir));
  return {};
}

void Daemon::UndoMigration() {
  Result<void> undone = database_->UndoMigration();
  if (!undone) log::Error("{}", undone.error().message);
}

void Daemon::MakeRoutes() {
  seed_ = std::make_unique<api::Seed>(*registry_, *servers_, *ports_, config_.domain);
  http::SetSuggest(api::SuggestionFor);
  v1_ = std::make_unique<api::V1>(*registry_, *servers_, *ports_, config_.domain,
                                  api::BridgeRoutes());
  auto seed = [this](std::string id, http::Exchange& exchange) {
    return seed_->Handle(std::move(id), exchange);
  };
  sdk_ = std::make_unique<api::Sdk>(*registry_, *servers_, *ports_, config_.domain);
  auto sdk = [this](std::string id, http::Exchange& exchange) {
    return sdk_->Handle(std::move(id), exchange);
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
  gateway_ =
      std::make_unique<gateway::Gateway>(options, *registry_, *servers_, *ports_, seed, sdk, bare);
  http::SetElsewhere(
      [this](http::Exchange& exchange, const Error& error) { return PassOn(exchange, error); });
  auto handle = [this](http::Exchange& exchange) { return gateway_->Handle(exchange); };
  server_ = std::make_unique<http::Server>(handle, http::ServerOptions());
}

async::Task<> Daemon::HandleBare(http::Exchange& exchange) {
  bool answered = co_await ops_->Handle(exchange);
  if (!answered) co_await v1_->Handle(exchange);
}

Result<std::unique_ptr<Daemon>> Daemon::Make(Config config, Origin origin,
                                             std::optional<Predecessor> predecessor,
                                             Notifier notifier,
                                             const std::vector<async::Endpoint>& endpoints) {
  if (predecessor) TRY(predecessor->AwaitTurn());
  ASSIGN(DaemonLock lock, DaemonLock::Take(config.run_dir, config.state_dir, config.cgroup));
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(config), std::move(lock)));
  daemon->origin_ = std::move(origin);
  daemon->predecessor_ = std::move(predecessor);
  daemon->notifier_ = std::move(notifier);
  TRY(daemon->MakeParts());
  ASSIGN(daemon->bound_, daemon->Bind(endpoints));
  Result<void> migrated = daemon->Migrate();
  if (!migrated) {
    daemon->UndoMigration();
    return std::unexpected(std::move(migrated).error());
  }
  daemon->MakeRoutes();
  return daemon;
}

// Whoever makes the first sandbox does not wait until a key is derived from the password.
async::Task<> Daemon::OpenStore() {
  auto open = [this] { return vault_->Get(); };
  auto opened = co_await registry_->transfers().Run(open);
  if (!opened) log::Warning("{}", opened.error().message);
}

async::Task<> Daemon::StartTask(Result<void>& result) {
  result = co_await registry_->Load();
  // Served from here on: whoever asks for a sandbox that is not yet looked at waits for it alone.
  if (result) result = Listen();
  if (!result) UndoMigration();
  if (result) result = co_await registry_->Reconcile();
  if (result) {
    registry_->StartAutomatic();
    registry_->StartPool();
    async::Spawn(runtime_.shard(0), StartIdle(), "wait for the earlier daemon");
  }
  if (result) async::Spawn(runtime_.shard(0), OpenStore(), "open the store of the snapshots");
  if (result) co_await servers_->Adopt();
  if (!result) runtime_.Stop();
}

Result<void> Daemon::Start() {
  runtime_.OnUpgrade([this] {
    if (draining_ || upgrading_ || !serves_) return;
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
  async::Spawn(runtime_.shard(0), StartTask(result), "start");
  runtime_.Run();
  return result;
}

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
  if (config.cgroup_favordynmods) {
    // Before the mount is hidden from this process.
    Result<void> favored = sys::FavorCgroupMoves();
    if (!favored) log::Info("sandboxes are made more slowly: {}", favored.error().message);
  }
  TRY(sys::EnterPrivateMountNamespace());
  Result<std::unique_ptr<Daemon>> daemon = Daemon::Make(
      std::move(config), std::move(origin), std::move(predecessor), std::move(notifier), endpoints);
  if (!daemon) return std::unexpected(std::move(daemon).error());
  Result<void> result = (*daemon)->Start();
  if (result) return result;
  log::Error("could not start: {}", result.error().message);
  std::fflush(nullptr);
  ::_exit(1);
}

}  // namespace atl::daemon
