// SPDX-License-Identifier: Apache-2.0
// For tests: a registry on real crun, a real agent, a real network and an image of a few programs,
// in directories and cgroups of its own.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "async/runtime.h"
#include "blob/files.h"
#include "db/database.h"
#include "egress/egress.h"
#include "http/message.h"
#include "oci/launcher.h"
#include "oci/leaks.h"
#include "sandbox/registry.h"
#include "sandbox/rows.h"
#include "snapshot/vault.h"
#include "sys/mounts.h"
#include "sys/process.h"

namespace atl::sandbox {

class World {
 public:
  World() {
    std::string pattern = "/tmp/atoll-sandbox-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    ::chmod(dir_.c_str(), 0711);
    options_ = {.state_dir = dir_ + "/state",
                .run_dir = dir_ + "/run",
                .images_dir = dir_ + "/state/images",
                .agent_binary = ATOLL_AGENT_PROGRAM,
                .cgroup = fmt::format("atoll-sbx-{}", ::getpid()),
                .default_image = "tiny",
                .limits = {.memory_bytes = 256U << 20U, .cpus = 1, .pids = 64}};
    MakeImage();
    auto launcher = oci::Launcher::Open(LauncherConfigOf(options_));
    if (!launcher) Die(launcher.error());
    launcher_ = *std::move(launcher);
    auto network = egress::Egress::Make(
        runtime_, {}, [](std::string, http::Exchange&) -> async::Task<> { co_return; });
    if (!network) Die(network.error());
    egress_ = *std::move(network);
    Open();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() {
    Close();
    egress_.reset();
    if (auto names = launcher_->cgroups().List()) {
      for (const std::string& iid : *names) (void)launcher_->Destroy(iid);
    }
    EXPECT_TRUE(launcher_->cgroups().RemoveRoot());
    EXPECT_TRUE(launcher_->trash().AwaitEmpty(std::chrono::seconds(30)));
    EXPECT_TRUE(sys::Unmount(options_.run_dir + "/bin/agent", MNT_DETACH));
    EXPECT_TRUE(sys::RemoveTree(dir_));
    runtime_.Stop();
    first_shard_.join();
  }

  // What a daemon does at its start and its end.
  void Open() {
    auto database = db::Database::Open(options_.state_dir + "/atoll.db");
    if (!database) Die(database.error());
    database_ = *std::move(database);
    auto open_store = [this] { return OpenStore(); };
    repository::Options repository;
    repository.scrypt = {.n = 1024, .r = 8, .p = 1};
    vault_ = std::make_unique<snapshot::Vault>(
        open_store, [] { return Result<std::string>("secret"); }, repository);
    registry_ =
        std::make_unique<Registry>(runtime_, *database_, *launcher_, *egress_, *vault_, options_);
  }
  void Close() {
    registry_.reset();
    vault_.reset();
    database_.reset();
  }

  Result<std::shared_ptr<blob::Store>> OpenStore() {
    if (store_fails_) return Fail(Code::kUnavailable, "the store is away", "STORE_UNAVAILABLE");
    return blob::OpenFiles(store_dir());
  }
  std::string store_dir() const { return options_.state_dir + "/snapshots"; }
  // From the next opening of the vault on.
  void FailStore(bool fails) { store_fails_ = fails; }
  Options& mutable_options() { return options_; }

  Registry& registry() { return *registry_; }
  snapshot::Vault& vault() { return *vault_; }
  db::Database& database() { return *database_; }
  oci::Launcher& launcher() { return *launcher_; }
  const Options& options() const { return options_; }

  // Runs `task` on a shard and waits for its result.
  template <class T>
  T Wait(async::Task<T> task, int shard = 1) {
    return Start(std::move(task), shard).get();
  }
  template <class T>
  std::future<T> Start(async::Task<T> task, int shard = 1) {
    auto ended = std::make_shared<std::promise<T>>();
    std::future<T> result = ended->get_future();
    async::Spawn(runtime_.shard(shard), Fulfil(std::move(task), std::move(ended)), "a test");
    return result;
  }

  Result<Registry::Created> Create(const std::string& id, CreateOptions options = {}) {
    return Wait(registry_->Create(id, std::move(options)));
  }

  struct Output {
    std::string out;
    std::string err;
    ProcessEvent exit;
  };
  // Runs `sh -c script` inside.
  Result<Output> Run(const std::string& id, std::string script) {
    return Wait(RunInside(*registry_, id, std::move(script)));
  }
  // The same, when all that matters is what it prints.
  std::string Say(const std::string& id, std::string script) {
    auto output = Run(id, std::move(script));
    return output ? output->out : output.error().message;
  }

 private:
  template <class T>
  static async::Task<> Fulfil(async::Task<T> task, std::shared_ptr<std::promise<T>> ended) {
    T result = co_await std::move(task);
    ended->set_value(std::move(result));
  }

  static async::Task<Result<Output>> RunInside(Registry& registry, std::string id,
                                               std::string script) {
    CO_ASSIGN(std::shared_ptr<Sandbox> sandbox, co_await registry.Acquire(std::move(id)));
    SpawnSpec spec;
    spec.argv = {"sh", "-c", std::move(script)};
    CO_ASSIGN(std::unique_ptr<Process> process, co_await sandbox->agent().Spawn(std::move(spec)));
    Output output;
    while (true) {
      CO_ASSIGN(ProcessEvent event, co_await process->Next());
      if (event.kind == ProcessEvent::Kind::kStdout) output.out.append(event.data);
      if (event.kind == ProcessEvent::Kind::kStderr) output.err.append(event.data);
      if (event.kind != ProcessEvent::Kind::kExited) continue;
      output.exit = event;
      co_return output;
    }
  }

  void MakeImage() {
    std::string root = options_.images_dir + "/tiny/rootfs";
    for (const char* dir :
         {"bin", "etc", "tmp", "root", "workspace", "dev", "proc", "sys", ".atoll"}) {
      std::filesystem::create_directories(root + "/" + dir);
    }
    std::filesystem::permissions(root + "/tmp", std::filesystem::perms(01777));
    std::string programs =
        "/bin/sh /bin/cat /bin/ls /bin/ln /bin/rm /bin/mkdir /bin/sleep "
        "/bin/hostname /usr/bin/head /usr/bin/env";
    std::string script = fmt::format(
        "cd '{0}' && cp -L {1} bin/ && for f in $(ldd {1} | grep -o '/[^ ]*' | grep -v : | sort -u)"
        "; do mkdir -p \".${{f%/*}}\" && cp -L \"$f\" \".$f\"; done; "
        "echo '127.0.0.1 localhost' > etc/hosts",
        root, programs);
    auto made = sys::RunChecked({.argv = {"sh", "-c", script}});
    EXPECT_TRUE(made) << made.error().message;
  }

  [[noreturn]] static void Die(const Error& error) {
    ADD_FAILURE() << error.message;
    std::abort();
  }

  std::string dir_;
  Options options_;
  async::Runtime runtime_{2, 4};
  std::thread first_shard_{[this] { runtime_.Run(); }};
  std::unique_ptr<oci::Launcher> launcher_;
  std::unique_ptr<egress::Egress> egress_;
  std::unique_ptr<db::Database> database_;
  std::unique_ptr<snapshot::Vault> vault_;
  bool store_fails_ = false;
  std::unique_ptr<Registry> registry_;
};

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be root";
    if (!std::filesystem::exists(ATOLL_AGENT_PROGRAM)) GTEST_SKIP() << "atoll-agent is not built";
    world_ = std::make_unique<World>();
  }
  void TearDown() override {
    if (world_) ExpectNoLeaks();
  }

  void ExpectNoLeaks() {
    auto known = Rows(world_->database()).Known();
    ASSERT_TRUE(known);
    EXPECT_TRUE(world_->launcher().trash().AwaitEmpty(std::chrono::seconds(30)));
    auto leaks = oci::FindLeaks(LauncherConfigOf(world_->options()), known->live, known->running,
                                {}, &known->ranges);
    ASSERT_TRUE(leaks) << leaks.error().message;
    for (const oci::Leak& leak : *leaks) ADD_FAILURE() << leak.kind << " " << leak.what;
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(world_->registry().List().empty());
    EXPECT_TRUE(Rows(world_->database()).All()->empty());
    EXPECT_TRUE(world_->launcher().cgroups().List()->empty());
    EXPECT_TRUE(world_->launcher().runtime().List()->empty());
    for (const std::string& dir : {world_->options().state_dir, world_->options().run_dir}) {
      EXPECT_TRUE(std::filesystem::is_empty(dir + "/sandboxes")) << dir;
    }
  }
  // A new daemon: the old one had no chance to clean up.
  void Restart() {
    world_->Close();
    world_->Open();
    auto loaded = world_->Wait(world_->registry().Load());
    ASSERT_TRUE(loaded) << loaded.error().message;
    auto reconciled = world_->Wait(world_->registry().Reconcile());
    ASSERT_TRUE(reconciled) << reconciled.error().message;
  }
  Result<void> Delete(const std::string& id) { return world_->Wait(world_->registry().Delete(id)); }
  pid_t PidOf(const std::string& iid) { return world_->launcher().Adopt(iid)->pid; }
  void KillContainer(const std::string& iid) {
    auto launched = world_->launcher().Adopt(iid);
    ASSERT_TRUE(launched);
    ASSERT_EQ(::kill(launched->pid, SIGKILL), 0);
    pollfd wait{.fd = launched->pidfd.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&wait, 1, 5000), 1);
  }

  std::unique_ptr<World> world_;
};

}  // namespace atl::sandbox
