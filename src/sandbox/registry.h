// SPDX-License-Identifier: Apache-2.0
// All sandboxes of this daemon: their states, who may act on them and when.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
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
#include "sandbox/admission.h"
#include "sandbox/agent_client.h"
#include "sandbox/buckets.h"
#include "sandbox/event_log.h"
#include "sandbox/fork.h"
#include "sandbox/limits.h"
#include "sandbox/pool.h"
#include "sandbox/sleep_policy.h"
#include "sandbox/state.h"
#include "sandbox/usage.h"
#include "snapshot/backup.h"
#include "snapshot/policy.h"
#include "snapshot/restore.h"
#include "snapshot/vault.h"

namespace atl::sandbox {

class ServiceBook;

struct CreateOptions {
  std::optional<std::string> image;
  std::optional<uint64_t> memory_bytes;
  std::optional<double> cpus;
  std::optional<uint64_t> pids;
  std::optional<uint64_t> disk_bytes;
  std::optional<uint64_t> inodes;
  std::optional<uint64_t> weight;
  std::chrono::milliseconds wait{0};  // for room, if there is none now
  // Whoever creates it waits for OpenCode: it may come from a checkpoint.
  bool with_opencode = false;
  bool only_from_pool = false;  // POOL_EMPTY when there is no member for it
  std::vector<std::pair<std::string, std::string>> env;
  std::optional<snapshot::AutoPolicy> snapshots;  // nothing: what is configured
  std::optional<SleepPolicy> sleep;               // the same
};

// What can be changed of a sandbox that exists; nothing: as it is.
struct Changes {
  std::function<Result<snapshot::AutoPolicy>(const snapshot::AutoPolicy& now)> snapshots;
  std::function<Result<SleepPolicy>(const SleepPolicy& now)> sleep;
};

struct Info {
  std::string id;
  std::string iid;
  State state = State::kCreating;
  std::string image;
  Limits limits;
  int64_t created_at_ms = 0;  // Unix time
  std::string failure;        // kFailed: why
  snapshot::AutoPolicy snapshots;
  SleepPolicy sleep;
  bool unsaved = false;      // stopped, and what should have been saved could not be yet
  std::string save_failure;  // why, as far as this daemon has tried
  int uses = 0;              // requests, streams and programs that hold it now
  bool memory_kept = false;  // stopped, and what ran in it goes on at its next start
};

using Phases = std::vector<std::pair<std::string, double>>;  // name, milliseconds

struct Options {
  std::string state_dir;
  std::string run_dir;
  std::string images_dir;       // <state_dir>/images
  std::string snapshots_dir;    // where temporaries of a store on this host are; may be empty
  std::string agent_binary;     // atoll-agent
  std::string opencode_binary;  // the ELF; empty when it is not installed
  std::string cgroup = "atoll";
  std::string default_image = "default";
  Limits limits{.memory_bytes = 4ULL << 30U, .cpus = 2, .pids = 2048};
  uint64_t open_files = 65536;  // of a process, unless it raises that itself
  // What each step of a change of state may take (README.md).
  std::chrono::milliseconds runtime_deadline{30'000};     // a call of crun
  std::chrono::milliseconds checkpoint_deadline{60'000};  // of CRIU
  std::chrono::milliseconds agent_deadline{15'000};       // until an agent answers
  AdmissionRules admission;
  std::vector<std::pair<std::string, std::string>> env;  // of every program inside
  snapshot::AutoPolicy snapshots;
  snapshot::Retention retention;
  std::chrono::seconds prune_interval{86400};  // 0: never
  SleepPolicy sleep;
  // One that uses more of a CPU than this is not idle; 0: CPU time says nothing.
  double busy_cpus = 0.1;
  // Asleep for this long by itself: its memory is moved to swap, where there is some; 0: never.
  std::chrono::seconds reclaim_after{60};
  // Who is stopped by itself is stopped with what runs in it (see Registry::Stop).
  bool keep_memory = false;
  BucketSecrets buckets;
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
  pid_t pid() const { return pid_; }  // of its PID 1, in the host's numbers
  int pidfd() const { return pidfd_.get(); }
  // The TCP port inside on which Atoll itself listens; 0: none.
  uint16_t relay_port() const { return network_ ? network_->relay_port() : 0; }

 private:
  friend class Registry;
  Info info_;
  std::unique_ptr<AgentClient> agent_;
  std::unique_ptr<egress::Attachment> network_;
  sys::Fd pidfd_;  // of its PID 1
  pid_t pid_ = 0;
};

// What somebody who wanted to use a sandbox had to wait for, in milliseconds.
struct Waited {
  double queue_ms = 0;     // the host was full
  double wake_ms = 0;      // it was asleep
  double start_ms = 0;     // it was stopped
  double restore_ms = 0;   // of `start_ms`: its files came back from snapshots
  double opencode_ms = 0;  // OpenCode was starting

  void Add(const Waited& more) {
    queue_ms += more.queue_ms;
    wake_ms += more.wake_ms;
    start_ms += more.start_ms;
    restore_ms += more.restore_ms;
    opencode_ms += more.opencode_ms;
  }
  // Into an answer, whose class has AddTiming(name, ms).
  void SayIn(auto& exchange) const {
    if (queue_ms > 0) exchange.AddTiming("queue", queue_ms);
    if (wake_ms > 0) exchange.AddTiming("wake", wake_ms);
    if (start_ms > 0) exchange.AddTiming("start", start_ms);
    if (restore_ms > 0) exchange.AddTiming("restore", restore_ms);
    if (opencode_ms > 0) exchange.AddTiming("opencode", opencode_ms);
  }
};

struct SnapshotRequest {
  std::string dir = "/workspace";
  std::string name;
  std::optional<bool> freeze;  // nothing: automatic ones freeze
  // Nothing: what is configured; inside it, nothing: never.
  std::optional<std::optional<std::chrono::seconds>> ttl;
  std::vector<std::string> labels;
  std::vector<std::string> exclude;  // absolute paths
  repository::Trigger trigger = repository::Trigger::kManual;
  bool skip_if_unchanged = false;
  snapshot::OnProgress on_progress;
};
using SnapshotResult = snapshot::BackupResult;

// What the tags of a snapshot may be: bounded, printable, none that means something else.
Result<void> ValidateTags(const repository::Tags& tags);

struct RestoreRequest {
  std::string snapshot_id;      // or a prefix of at least 8 digits
  std::string dir;              // where to; empty: where it was taken
  std::string from;             // a directory inside the snapshot; empty: all of it
  bool merge = false;           // keep what the snapshot does not have
  bool of_any_sandbox = false;  // false: only a snapshot of this sandbox
  snapshot::OnProgress on_progress;
};
struct RestoreOutcome {
  std::string snapshot_id;
  snapshot::RestoreResult result;
};

// A directory that a new or emptied sandbox got back from a snapshot.
struct Recovered {
  std::string dir;
  std::string snapshot_id;
  uint64_t files = 0;
};

class Registry {
 public:
  Registry(async::Runtime& runtime, db::Database& database, oci::Launcher& launcher,
           egress::Egress& egress, snapshot::Vault& vault, Options options);
  ~Registry();

  // At start: Load reads what there is and clears away what belongs to nothing; whoever asks for
  // one of them from then on waits until Reconcile has looked at it. That adopts running ones,
  // undoes what was half-made, finishes stops and deletes, and logs what it did. Those that ran
  // when the host went down and are kept alive or have services are then started.
  async::Task<Result<void>> Load();
  async::Task<Result<void>> Reconcile();
  // Reconcile has ended: every sandbox is known for what it is.
  bool reconciled() const;

  // Idempotent: a sandbox that exists and runs is returned as it is; one that is stopped is
  // started. Concurrent calls for one id wait for each other. CAPACITY_EXCEEDED when the host has
  // no room, and has none after `wait`, which can be cancelled.
  struct Created {
    Info info;
    Phases phases;
    std::vector<Recovered> recovered;
    Waited waited;  // one that existed
  };
  async::Task<Result<Created>> Create(std::string id, CreateOptions options);
  // New sandboxes with the files, environment, limits and policies of `id`, all or none. A running
  // one goes on, but for the moment in which it stands still. SANDBOX_EXISTS, TOO_DEEP. With its
  // memory, what runs goes on in the copies as well, from that moment; one that is stopped is
  // started for that, one that sleeps goes on sleeping. MEMORY_UNSUPPORTED, FORK_MEMORY_FAILED.
  struct Forked {
    std::vector<Created> made;
    ForkFacts facts;
    Waited waited;  // for the source
  };
  async::Task<Result<Forked>> Fork(std::string id, ForkRequest request);
  // Works from any state. kNotFound for an id that does not exist.
  async::Task<Result<void>> Delete(std::string id);
  // A sandbox to work with; wakes one that is asleep, starts a stopped one. It is in use, and so
  // neither sleeps nor is stopped for idleness, as long as what is returned lives. kNotFound
  // (SANDBOX_NOT_FOUND). `waited` is added to.
  async::Task<Result<std::shared_ptr<Sandbox>>> Acquire(std::string id, Waited* waited = nullptr);
  // One that runs or sleeps, without waking or using it; null otherwise.
  std::shared_ptr<Sandbox> Observe(std::string_view id) const;
  // Freezes a running one: nothing happens when it sleeps or is stopped. SANDBOX_IN_USE while
  // somebody uses it, unless `force`.
  async::Task<Result<void>> Sleep(std::string id, bool force);
  // Wakes or starts it.
  async::Task<Result<void>> Wake(std::string id, Waited* waited = nullptr);
  async::Task<Result<Info>> Change(std::string id, Changes changes);
  // Blocking work on what belongs to a sandbox, while nobody creates, deletes or hands it over.
  using LockedWork = std::function<Result<void>(const Info& info)>;
  async::Task<Result<void>> Locked(std::string id, LockedWork work);

  // A bucket becomes a directory of the sandbox, now and at each of its starts until it is
  // unmounted. BUCKETS_UNAVAILABLE, BUCKET_MOUNT_ERROR, INVALID_MOUNT_CONFIG, MISSING_CREDENTIALS,
  // RESOURCE_BUSY, TOO_MANY_BUCKETS.
  async::Task<Result<BucketState>> MountBucket(std::string id, BucketRequest request,
                                               Waited* waited = nullptr);
  // BUCKET_NOT_MOUNTED.
  async::Task<Result<void>> UnmountBucket(std::string id, std::string path);
  async::Task<Result<std::vector<BucketState>>> Buckets(std::string id);

  // Nothing for one that does not exist or has not run since this daemon started.
  std::optional<UsageReport> Usage(std::string_view id, bool with_history) const;

  std::vector<Info> List() const;
  std::optional<Info> Find(std::string_view id) const;

  // Saves what is to be saved, then stops; the layer stays. Not running: nothing happens. When it
  // cannot be saved the sandbox stops all the same, and saving is tried again later.
  struct Stopped {
    std::vector<std::string> snapshot_ids;
    std::string save_failure;  // empty: saved, or nothing to save
    bool memory_kept = false;
    std::string memory_failure;  // why not, if it was to be
  };
  // `keep_memory`: what runs goes on at the next start, where it was, as if it had slept.
  // MEMORY_UNSUPPORTED when this host cannot; what goes wrong later stops it all the same.
  async::Task<Result<Stopped>> Stop(std::string id, bool keep_memory = false);

  async::Task<Result<SnapshotResult>> Snapshot(std::string id, SnapshotRequest request,
                                               Waited* waited = nullptr);
  // BACKUP_NOT_FOUND, BACKUP_EXPIRED, SNAPSHOT_AMBIGUOUS.
  async::Task<Result<RestoreOutcome>> Restore(std::string id, RestoreRequest request,
                                              Waited* waited = nullptr);

  // Called around a restore into `dir`, so that a server whose state lies there can be stopped
  // before and started after. Set once, before anything runs.
  using AroundRestore = std::function<async::Task<>(std::string id, std::string dir, bool begins)>;
  void OnRestore(AroundRestore around);
  void OnFork(ForkHooks hooks);
  // Says in how many sandboxes OpenCode starts now, which takes memory that nobody sees yet.
  void OnBoots(std::function<size_t()> count);

  // The warm pool, whose members are neither listed nor reached by any id. Set up once, before
  // anything runs; it begins to look after its members with StartPool, once all is reconciled.
  void SetUpPool(PoolOptions options, PoolHooks hooks);
  void StartPool();
  // Members that wait are left to the next daemon; one that is being made comes to its end first.
  async::Task<> StopPool();
  PoolStats pool_stats() const;
  // Members are made now, if there is room.
  void PrimePool();
  // Removes the members that wait. New ones come with the next round, or when primed.
  async::Task<> EmptyPool();
  // Sandboxes and members.
  size_t Count() const;

  // From now on: interval snapshots, saving again what could not be saved, removal of what has
  // expired. Runs until StopAutomatic.
  void StartAutomatic();
  // From now on those that nobody uses sleep and stop. A daemon that took over waits with it until
  // the earlier one, whose streams it does not know, has ended.
  void StartIdle();
  async::Task<> StopAutomatic();
  // One try to save the stopped sandboxes that could not be saved.
  async::Task<> SaveAgain();
  // The host goes down: saves every running sandbox that wants it, a few at a time.
  async::Task<> SaveAll();
  // The daemon ends: snapshots and restores that are not yet decided are given up, and no sandbox
  // stays frozen.
  async::Task<> GiveUpTransfers();
  // No sandbox stays frozen for a snapshot that nobody takes any more. Blocks.
  void ThawAll();

  // A newer daemon takes over: waits until nothing is under way, and changes no sandbox from then
  // on (DAEMON_REPLACED). What runs inside, and who is connected to it, is not touched. Unretire:
  // the newer one did not come.
  async::Task<Result<void>> Retire();
  void Unretire();

  snapshot::Vault& vault();
  const snapshot::Retention& retention() const;
  const snapshot::AutoPolicy& default_policy() const;
  const SleepPolicy& default_sleep() const;
  EventLog& events();
  ServiceBook& services();
  async::BlockingPool& blocking();
  // Threads for what may wait long for a store.
  async::BlockingPool& transfers();
  // For pieces of files: one has a thread while it is read or written, not while a client is slow.
  async::BlockingPool& streams();
  // For archives of snapshots, which keep theirs as long as their client takes.
  async::BlockingPool& downloads();

 private:
  struct Entry;
  struct Impl;
  struct WarmPool;
  async::Task<> OpenVault();
  async::Task<> RunAutomatic();
  async::Task<> RunIdle();
  async::Task<> RunAgain();
  async::Task<> RunUsage();
  async::Task<> StartUnasked(std::vector<std::string> ids);
  async::Task<> SaveSome(const std::vector<std::string>& ids, size_t begin, size_t step);
  async::Task<> SaveEach(const std::vector<std::string>& ids, size_t begin, size_t step);
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::sandbox
