// SPDX-License-Identifier: Apache-2.0
// All sandboxes of this daemon: their states, who may act on them and when.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/runtime.h"
#include "base/result.h"
#include "db/database.h"
#include "egress/egress.h"
#include "oci/launcher.h"
#include "sandbox/agent_client.h"
#include "sandbox/limits.h"
#include "sandbox/state.h"
#include "snapshot/store.h"

namespace atl::sandbox {

struct CreateOptions {
  std::optional<std::string> image;
  std::optional<uint64_t> memory_bytes;
  std::optional<double> cpus;
  std::optional<uint64_t> pids;
  std::vector<std::pair<std::string, std::string>> env;
};

struct Info {
  std::string id;
  std::string iid;
  State state = State::kCreating;
  std::string image;
  Limits limits;
  int64_t created_at_ms = 0;  // Unix time
  std::string failure;        // kFailed: why
};

using Phases = std::vector<std::pair<std::string, double>>;  // name, milliseconds

struct Options {
  std::string state_dir;
  std::string run_dir;
  std::string images_dir;       // <state_dir>/images
  std::string agent_binary;     // atoll-agent
  std::string opencode_binary;  // the ELF; empty when it is not installed
  std::string cgroup = "atoll";
  std::string default_image = "default";
  Limits limits{.memory_bytes = 4ULL << 30U, .cpus = 2, .pids = 2048};
  std::vector<std::pair<std::string, std::string>> env;  // of every program inside
};

// What the launcher that goes with these options is opened with.
oci::LauncherConfig LauncherConfigOf(const Options& options);

// A running sandbox, as the API and the gateway use it. Alive as long as somebody holds it; once
// the sandbox is deleted its operations fail.
class Sandbox {
 public:
  Sandbox(Info info, std::unique_ptr<AgentClient> agent);
  ~Sandbox();
  const std::string& id() const { return info_.id; }
  const std::string& iid() const { return info_.iid; }
  AgentClient& agent() { return *agent_; }

 private:
  friend class Registry;
  Info info_;
  std::unique_ptr<AgentClient> agent_;
  std::unique_ptr<egress::Attachment> network_;
  sys::Fd pidfd_;  // of its PID 1
};

struct SnapshotResult {
  std::string snapshot_id;
  std::string dir;
  uint64_t bytes = 0;   // of the tar stream
  uint64_t stored = 0;  // after compression
  uint64_t files = 0;
  double duration_ms = 0;
};

class Registry {
 public:
  Registry(async::Runtime& runtime, db::Database& database, oci::Launcher& launcher,
           egress::Egress& egress, snapshot::Store& snapshots, Options options);
  ~Registry();

  // At start: adopts running sandboxes, undoes what was half-made, finishes deletes. Logs what it
  // did.
  async::Task<Result<void>> Reconcile();

  // Idempotent: a sandbox that exists and runs is returned as it is; one that is stopped is
  // started. Concurrent calls for one id wait for each other.
  struct Created {
    Info info;
    Phases phases;
  };
  async::Task<Result<Created>> Create(std::string id, CreateOptions options);
  // Works from any state. kNotFound for an id that does not exist.
  async::Task<Result<void>> Delete(std::string id);
  // A sandbox to work with; starts a stopped one. kNotFound (SANDBOX_NOT_FOUND).
  async::Task<Result<std::shared_ptr<Sandbox>>> Acquire(std::string id);

  std::vector<Info> List() const;
  std::optional<Info> Find(std::string_view id) const;

  async::Task<Result<SnapshotResult>> Snapshot(std::string id, std::string dir, std::string name);
  // To the directory the snapshot came from. kNotFound, BACKUP_NOT_FOUND. Snapshots belong to an
  // id: one that is created again still has them, another one cannot restore them.
  async::Task<Result<SnapshotResult>> Restore(std::string id, std::string snapshot_id);
  async::Task<Result<std::vector<snapshot::Meta>>> Snapshots(std::string id);

 private:
  struct Entry;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::sandbox
