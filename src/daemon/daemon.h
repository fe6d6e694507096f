// SPDX-License-Identifier: Apache-2.0
// The daemon: what lives as long as it does, and what it does from its start to its end. serve.cc
// makes and joins it, listening.cc binds, replace.cc ends it, be it in favour of a newer one.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/ops/ops.h"
#include "api/sdk/sdk.h"
#include "api/seed/seed.h"
#include "api/v1/v1.h"
#include "async/runtime.h"
#include "daemon/config.h"
#include "daemon/notify.h"
#include "daemon/run_dir.h"
#include "daemon/takeover.h"
#include "db/database.h"
#include "egress/egress.h"
#include "egress/model_gateway.h"
#include "gateway/gateway.h"
#include "http/server.h"
#include "oci/launcher.h"
#include "opencode/server.h"
#include "opencode/ui_cache.h"
#include "sandbox/ports.h"
#include "sandbox/registry.h"
#include "snapshot/vault.h"

namespace atl::daemon {

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
                                              Notifier notifier,
                                              const std::vector<async::Endpoint>& endpoints);
  Result<void> Start();

 private:
  Daemon(Config config, DaemonLock lock);

  Result<void> MakeParts();
  Result<void> Migrate();
  void UndoMigration();
  void OpenUi();
  void MakeRoutes();
  async::Task<> HandleBare(http::Exchange& exchange);
  async::Task<> StartTask(Result<void>& result);
  async::Task<> OpenStore();
  Result<std::vector<BoundListener>> Bind(const std::vector<async::Endpoint>& endpoints);
  Result<void> Listen();
  async::Task<> AroundRestore(std::string id, std::string dir, bool begins);
  async::Task<> Drain();
  async::Task<> Upgrade();
  async::Task<Result<void>> HandOver(Successor& successor);
  async::Task<bool> PassOn(http::Exchange& exchange, const Error& error);
  async::Task<> StartIdle();
  Result<void> Serve(std::span<const BoundListener> listeners);

  Config config_;
  Origin origin_;
  std::optional<Predecessor> predecessor_;
  std::vector<BoundListener> bound_;  // kept, for a successor
  async::Endpoint own_;               // the first of them
  Notifier notifier_;
  DaemonLock lock_;
  async::Runtime runtime_;
  egress::ModelGateway model_gateway_;
  std::unique_ptr<db::Database> database_;
  std::unique_ptr<oci::Launcher> launcher_;
  std::unique_ptr<egress::Egress> egress_;
  std::unique_ptr<snapshot::Vault> vault_;
  std::unique_ptr<sandbox::Registry> registry_;
  std::unique_ptr<sandbox::Ports> ports_;
  std::unique_ptr<opencode::Servers> servers_;
  std::unique_ptr<opencode::UiCache> ui_;
  std::unique_ptr<api::Seed> seed_;
  std::unique_ptr<api::Sdk> sdk_;
  std::unique_ptr<api::V1> v1_;
  std::unique_ptr<api::Ops> ops_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
  bool serves_ = false;
  bool draining_ = false;
  bool upgrading_ = false;
};

}  // namespace atl::daemon
