// SPDX-License-Identifier: Apache-2.0
// What the files of the registry share: registry.cc (look-ups), lifecycle.cc (create, start,
// delete), reconcile.cc (after a restart), sleep.cc (sleep, wake, idleness), transfer.cc (snapshot,
// restore), fork.cc, stop.cc (stop, and what is saved before), recover.cc (what comes back),
// delete.cc, automatic.cc (what happens by itself), again.cc (what is tried again), warm_pool.cc
// and claim.cc (the members of the warm pool).
#pragma once

#include <malloc.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "async/mutex.h"
#include "oci/leftovers.h"
#include "sandbox/activity.h"
#include "sandbox/clock_guard.h"
#include "sandbox/registry.h"
#include "sandbox/rows.h"
#include "sandbox/services.h"

namespace atl::sandbox {

inline constexpr int kTransferThreads = 16;
inline constexpr int kStreamThreads = 4;
// Each reads up to 32 MiB ahead of a client that may be slow.
inline constexpr int kDownloadThreads = 4;

// DAEMON_REPLACED
Unexpected Replaced();
// POOL_EMPTY
Unexpected PoolIsEmpty();
// A deadline of ours that has passed is nothing that the client could have known of.
Error Late(Error error);

struct Registry::Entry {
  async::Mutex lifecycle;  // held by who creates, starts or deletes it
  async::Mutex transfer;   // held by who takes or restores a snapshot

  // The tick of the coarse clock in which its PID 1 was last seen alive.
  std::atomic<int64_t> alive_at = -1;

  // Guarded by Impl::mutex.
  Row row;
  bool exists = false;   // it has a row
  bool removed = false;  // no longer in the map: look again
  int restoring = 0;
  std::chrono::steady_clock::time_point save_again_at;  // not before
  std::chrono::seconds save_again_pause{0};
  std::string save_failure;  // of the last try, while `row.unsaved`
  bool reserved = false;     // it runs, but is not for anybody's use yet
  std::chrono::steady_clock::time_point delete_again_at;  // kDeleting that failed: not before
  std::chrono::steady_clock::time_point stop_again_at;    // kFailed: not before
  std::chrono::seconds stop_again_pause{0};
  bool wake_unwritten = false;  // it runs, and its row still says that it sleeps
  std::shared_ptr<Activity> activity = std::make_shared<Activity>();
  uint64_t cpu_usec = 0;  // when it was last looked whether an idle one is busy; 0: not yet
  std::chrono::steady_clock::time_point cpu_at;
  std::chrono::steady_clock::time_point quiet_since;  // as far as that shows in CPU time
  bool delete_wanted = false;                         // by its owner
  bool idles = false;                                 // it is being put to rest by itself
  std::chrono::steady_clock::time_point reclaim_at;   // kPaused: its memory is given up then
  bool clearing = false;                              // it has ended, and is being cleared away
  std::stop_source deleting;                          // who saves it before its stop need not go on
  std::optional<std::stop_source> wanted;             // the same, while it is saved
  std::chrono::steady_clock::time_point looked_at;    // for an interval snapshot, last
  std::shared_ptr<Sandbox> sandbox;                   // while it runs
};

struct Registry::Impl {
  using EntryPtr = std::shared_ptr<Entry>;

  Impl(async::Runtime& runtime_in, db::Database& database, oci::Launcher& launcher_in,
       egress::Egress& egress_in, snapshot::Vault& vault_in, Options options_in)
      : runtime(runtime_in),
        events(database),
        services(database),
        rows(database, &events,
             [&launcher_in, lost = options_in.state_dir + "/lost"] {
               std::set<uint32_t> ranges = launcher_in.trash().Owners();
               ranges.merge(oci::RangesOfLayers(lost));
               return ranges;
             }),
        launcher(launcher_in),
        egress(egress_in),
        vault(vault_in),
        options(std::move(options_in)) {}

  async::Runtime& runtime;
  EventLog events;
  ServiceBook services;
  Rows rows;
  oci::Launcher& launcher;
  egress::Egress& egress;
  snapshot::Vault& vault;
  // For what may wait for a store or a client for long: lifecycles do not wait behind it.
  async::BlockingPool transfers{kTransferThreads};
  async::BlockingPool streams{kStreamThreads};
  async::BlockingPool downloads{kDownloadThreads};
  async::BlockingPool lookups{kTransferThreads};  // of snapshots, before a start
  Options options;
  snapshot::KnownFilesStore known_files{options.state_dir + "/known"};
  ClockGuard clock{options.state_dir + "/clock"};
  AroundRestore around_restore;
  ForkHooks fork_hooks;
  std::function<size_t()> count_boots;  // how many OpenCodes start now
  UsageBook usage_book;
  Admission admission{options.admission, [this] { return LookAtHost(); },
                      [this](const auto& starting) { return CountLoad(starting); }};
  std::stop_source ending;       // of the daemon: what can be given up is
  std::atomic<int> at_work = 0;  // snapshots and restores
  async::Event automatic_stops;
  async::Event automatic_stopped;
  std::atomic<bool> reconciled = false;
  std::atomic<bool> sweeps = false;  // from Load to Reconcile: no sandbox is made until `swept`
  async::Event swept;

  std::shared_ptr<WarmPool> pool;  // null: there is none

  mutable std::mutex mutex;
  std::map<std::string, EntryPtr, std::less<>> entries;

  // An entry with its lifecycle lock.
  struct Held {
    EntryPtr entry;
    async::Mutex::Lock lock;
  };
  // What a daemon holds that has given its place to a newer one.
  struct Retirement {
    struct Locks {
      EntryPtr entry;
      async::Mutex::Lock transfer;
      async::Mutex::Lock lifecycle;
    };
    std::mutex mutex;  // of the next two
    std::vector<Locks> locks;
    bool given_up = false;
    async::Event complete;
  };
  std::atomic<bool> retired = false;
  std::atomic<int> awaiting_turn = 0;  // since before that
  std::stop_source leaving;            // for who waits for others than the sandboxes
  std::shared_ptr<Retirement> retirement;
  async::Task<> TakeLocks(std::shared_ptr<Retirement> into);

  // Found by Load, and locked until Reconcile has looked at them.
  std::vector<Held> loaded;
  std::vector<Event> taken_over;      // to be told; guarded by `mutex`
  std::vector<std::string> to_start;  // by themselves, once all are reconciled; guarded as well

  EntryPtr Lookup(std::string_view id) const;
  EntryPtr Obtain(const std::string& id);
  // A lock of an entry that the caller holds. Who waits for it when a newer daemon is to take over
  // still gets it, who comes later does not: DAEMON_REPLACED.
  async::Task<Result<async::Mutex::Lock>> AwaitTurn(async::Mutex& lock);
  // Waits for whoever is at work on `id`. SANDBOX_NOT_FOUND unless `make`.
  async::Task<Result<Held>> Hold(std::string id, bool make);
  // Takes an entry without a row out of the map. The caller holds its lock.
  void Discard(const EntryPtr& entry);
  Info InfoOf(const Entry& entry) const;  // with the mutex held
  void SetState(const EntryPtr& entry, State state, const std::string& failure = {});

  // The sandbox, if it runs and its PID 1 lives.
  std::shared_ptr<Sandbox> Alive(const EntryPtr& entry) const;
  // The same of one that may be asleep.
  std::shared_ptr<Sandbox> Living(const EntryPtr& entry) const;
  // Alive, and in use as long as what is returned lives; null when it is not for use.
  std::shared_ptr<Sandbox> Lease(const EntryPtr& entry) const;

  // All of these run to their end whoever cancels, and are called with the lifecycle lock held.
  async::Task<> CreateInto(std::string id, CreateOptions create, Result<Created>& result);
  async::Task<> DeleteInto(std::string id, Result<void>& result);
  async::Task<> HoldForDelete(std::string id, Result<Held>& held, async::Event& done);
  // Ends what runs in one whose deletion has waited for too long, again and again until `done`.
  async::Task<> EndUnless(EntryPtr entry, async::Event& done);
  async::Task<> AcquireInto(std::string id, Result<std::shared_ptr<Sandbox>>& result,
                            Waited* waited);
  async::Task<> SleepInto(std::string id, bool force, Result<void>& result);
  async::Task<> LockedInto(std::string id, LockedWork work, Result<void>& result);
  async::Task<> ChangeInto(std::string id, Changes changes, Result<Info>& result);
  // Makes one run that exists, whatever it does now.
  async::Task<Result<void>> MakeRun(EntryPtr entry, Phases& phases,
                                    std::vector<Recovered>* recovered, Waited* waited);
  // Freezes it. `idle_only`: SANDBOX_IN_USE when somebody uses it.
  async::Task<Result<void>> Pause(EntryPtr entry, bool idle_only, std::string why);
  void NoteAsleep(const std::string& iid);  // what it takes; blocks
  void ReclaimLater(const EntryPtr& entry);
  async::Task<> ReclaimNow(EntryPtr entry);  // if it still sleeps
  async::Task<> ReclaimInTurn(EntryPtr entry);
  async::Task<Result<void>> Thaw(EntryPtr entry);

  async::Task<Result<void>> CreateNew(EntryPtr entry, CreateOptions create, Phases& phases,
                                      std::vector<Recovered>& recovered);
  // `with_services`: those that are to run in it are started.
  async::Task<Result<void>> StartAgain(EntryPtr entry, Phases& phases,
                                       std::vector<Recovered>* recovered = nullptr,
                                       bool with_services = true);
  // A member of the pool for the sandbox that `row` describes, in the place of a new one. kBroken:
  // it is `entry`'s, whose row is written, but does not work.
  enum class FromPool { kNone, kWorks, kBroken };
  // `cool`: what is restored into it would change under an OpenCode that runs.
  async::Task<FromPool> TakeMember(EntryPtr entry, Row row, bool cool, Phases& phases);
  async::Task<Result<void>> BecomeSomebodys(std::shared_ptr<Sandbox> sandbox, Row row);
  // The sandbox of `entry`, whose row is written, from a template. kNone: there is none for it.
  async::Task<FromPool> StartFromTemplate(EntryPtr entry, Phases& phases);
  // With another container and an empty layer in the place of what it has.
  async::Task<Result<void>> LaunchAfresh(EntryPtr entry, Phases& phases);
  // From the container to an agent that answers. `commit`: `running` is written to the database
  // once the container runs.
  // `checkpoint`: what it goes on from (oci::LaunchSpec).
  async::Task<Result<void>> Launch(EntryPtr entry, bool commit, Phases& phases,
                                   std::string checkpoint = {});
  async::Task<Result<void>> Connect(EntryPtr entry, oci::Launched launched, bool commit,
                                    Phases& phases);
  // Stop or Destroy, network first.
  async::Task<Result<void>> StopContainer(EntryPtr entry, std::string why = {});
  // `wanted`: its owner deletes it, so that an id made again begins empty.
  async::Task<Result<void>> DestroyAll(EntryPtr entry, bool wanted = false);
  // An empty layer that could not be filled is as good as none: the next start tries again.
  async::Task<> DropLayer(EntryPtr entry);

  // fork.cc
  struct Source {
    async::Mutex::Lock transfer;
    Held held;
    Row row;
  };
  async::Task<> ForkInto(std::string id, ForkRequest request, Result<Forked>& result);
  async::Task<Result<void>> ForkSteps(std::string id, ForkRequest request,
                                      std::vector<Held>& claimed, Forked& forked);
  // `up`: it runs or sleeps.
  async::Task<Result<Source>> HoldSource(std::string id, bool up, Waited& waited);
  async::Task<> StartFor(std::string id, Result<std::shared_ptr<Sandbox>>& result, Waited& waited);
  bool Exists(std::string_view id) const;
  async::Task<Result<Held>> Claim(std::string id, Row source);
  async::Task<Result<void>> ClaimAll(Row source, ForkRequest request, std::vector<Held>& claimed);
  // Files, and no more.
  async::Task<Result<void>> CopyFiles(const Source& source, const std::vector<Row>& targets,
                                      ForkFacts& facts);

  // fork_memory.cc
  struct MemoryCopy {
    std::vector<std::string> checkpoints;  // one for each copy
    bool with_opencode = false;            // it runs in them
    bool keep_opencode = false;            // and draws random numbers of its own in each
  };
  // MEMORY_UNSUPPORTED
  async::Task<Result<void>> CheckMemory();
  async::Task<Result<MemoryCopy>> CopyWithMemory(const Source& source,
                                                 const std::vector<Row>& targets, ForkFacts& facts);
  async::Task<Result<MemoryCopy>> CopyAwake(const Source& source, std::shared_ptr<Sandbox> sandbox,
                                            const std::vector<Row>& targets, ForkFacts& facts);
  async::Task<> WriteCopies(const Source& source, const std::vector<Row>& targets,
                            std::function<void()> on_hold, Result<ForkFacts>& facts);
  // What is left to do with a copy that runs; can be done again.
  async::Task<Result<void>> BecomeCopy(std::shared_ptr<Sandbox> sandbox, Row row,
                                       std::string former, bool keep_opencode);
  async::Task<Result<void>> LaunchCopy(EntryPtr entry, const std::string& checkpoint,
                                       std::string former, MemoryCopy copy, Phases& phases);

  std::unique_ptr<AgentClient> MakeAgent(const Row& row);
  Result<oci::Launched> LaunchBlocking(const Row& row, const std::string& checkpoint,
                                       Phases& phases);

  // One snapshot or restore of a sandbox at a time.
  struct Transfer {
    EntryPtr entry;
    async::Mutex::Lock lock;
    std::shared_ptr<Sandbox> sandbox;
  };
  // `waited` may be null.
  async::Task<Result<Transfer>> BeginTransfer(Registry& registry, std::string id, Waited* waited);
  // Who does not wait any more: for the snapshot, or for nothing but the opening of its store.
  struct GivenUp {
    std::stop_token work;
    std::stop_token opening;
  };
  // What blocks, of a transfer that holds its locks.
  Result<SnapshotResult> Take(const Row& row, const SnapshotRequest& request,
                              GivenUp given_up = GivenUp());
  async::Task<> RestoreInto(Transfer transfer, Row row, repository::SnapshotRecord record,
                            RestoreRequest request, Result<RestoreOutcome>& outcome);
  Result<snapshot::RestoreResult> Put(const Row& row, const repository::SnapshotRecord& record,
                                      const RestoreRequest& request,
                                      std::stop_token cancelled = {});
  async::Task<Result<void>> NoteRestoring(Row row, bool begins);
  Result<repository::SnapshotRecord> FindFor(const std::string& id, const RestoreRequest& request);

  snapshot::AutoPolicy PolicyOf(const Row& row) const;
  SleepPolicy SleepOf(const Row& row) const;
  // Snapshots of the policy's paths. The first failure, after all have been tried.
  async::Task<Result<std::vector<std::string>>> Save(std::shared_ptr<Sandbox> sandbox,
                                                     EntryPtr entry, repository::Trigger trigger,
                                                     GivenUp given_up = GivenUp());
  // Whoever wants a sandbox does not wait until one that nobody used is saved and stopped, and
  // until no store has been opened.
  void WantAwake(std::string_view id);
  std::stop_token AwaitWish(const EntryPtr& entry);
  // Nobody is told any more; whether somebody has been.
  bool EndWish(const EntryPtr& entry);
  // True: it runs again, because somebody wanted it.
  async::Task<bool> CallOffStop(EntryPtr entry);
  // By its row, whether it lives or not.
  // Into the events of the sandbox.
  async::Task<> Tell(EntryPtr entry, std::string kind, std::string detail);
  bool IsUp(const EntryPtr& entry) const;
  bool IsFailed(const EntryPtr& entry) const;
  // Where its policy saves it when it stops, and that has not been done.
  async::Task<Result<void>> NoteUnsaved(EntryPtr entry);
  async::Task<Result<void>> ClearDead(EntryPtr entry, std::string why);
  struct StopHow {
    bool idle_only = false;  // not when somebody uses it
    bool keep_memory = false;
    std::string why;
  };
  async::Task<> StopInto(std::string id, StopHow how, Result<Stopped>& result);
  // start.cc. What a checkpoint of it depends on beside its files. Blocks.
  Result<std::string> MemoryKey(const Row& row) const;
  // What runs in it, which has ended afterwards, for its next start.
  async::Task<Result<void>> KeepMemory(EntryPtr entry, std::shared_ptr<Sandbox> sandbox);
  async::Task<Result<void>> LaunchFromMemory(EntryPtr entry, Phases& phases);
  // mount_buckets.cc. Those without a task block.
  Result<void> AddBucket(const Row& row, const Sandbox& sandbox, const BucketRequest& request,
                         std::stop_token given_up);
  async::Task<> MountBucketInto(std::shared_ptr<Sandbox> sandbox, BucketRequest request,
                                Result<BucketState>& result);
  Result<BucketRequest> SettleKept(const BucketRequest& kept) const;
  // Those that it has and that are not mounted, for a sandbox that has just started or been
  // adopted.
  async::Task<> RestoreBuckets(Row row, std::shared_ptr<Sandbox> sandbox);
  // All of them, which stay its own. Fails when a program uses one.
  Result<void> RemoveMounts(const Row& row, const Sandbox& sandbox);
  bool LayerIsGone(const Row& row) const;
  // Before a start: whether the layer has to be filled from snapshots.
  async::Task<Result<bool>> PrepareLayer(EntryPtr entry);
  // The newest snapshots of the policy's paths that are younger than the id's last deletion.
  using Records = std::vector<repository::SnapshotRecord>;
  Result<Records> Recoverable(const Row& row);
  // The same, for whoever gives up when it is deleted.
  async::Task<Result<Records>> LookUp(EntryPtr entry, Row row);
  // Those, into a sandbox that runs with an empty layer.
  // `records`: what a look-up has found already.
  async::Task<Result<void>> Recover(EntryPtr entry, std::vector<Recovered>& recovered,
                                    std::optional<Records> records = std::nullopt);
  void Reserve(const EntryPtr& entry, bool reserved);
  bool IsBeingDeleted(const EntryPtr& entry) const;
  std::stop_token DeletionOf(const EntryPtr& entry) const;

  // Whether the newest snapshots of a sandbox have to stay, however old they are.
  std::function<bool(std::string_view)> MayBeNeeded();

  // One round of what happens by itself.
  async::Task<> IntervalRound();
  async::Task<> SaveAgainRound();
  async::Task<> SaveAgainSome(const std::vector<std::string>& ids, size_t begin, size_t step);
  async::Task<> SaveAgainEach(const std::vector<std::string>& ids, size_t begin, size_t step);
  async::Task<Result<void>> SaveAgainOne(std::string id, EntryPtr entry);
  async::Task<bool> PruneRound();  // false: try again soon

  // One round over those that nobody uses, and over deletes that failed.
  async::Task<> IdleRound();
  async::Task<> SleepByItself(EntryPtr entry);
  async::Task<> StopByItself(EntryPtr entry);
  async::Task<> PutToRest(EntryPtr entry, bool stop);
  bool writing_again = false;         // guarded by mutex
  std::atomic<int> ending_again = 0;  // deletes and stops that are tried again
  async::Mutex reclaim_turn;
  std::atomic<int> resting = 0;  // how many of those are under way
  // `after`: the idle time that is asked for.
  bool IsBusy(const EntryPtr& entry, std::chrono::seconds after);
  // A service of it runs that is to keep it awake; this counts as a use.
  async::Task<bool> StaysAwake(EntryPtr entry);
  // Those whose delete or stop failed, and rows that could not be written, are tried again.
  void EndAgainRound();
  async::Task<> EndAgain(EntryPtr entry);
  async::Task<> DeleteAgain(EntryPtr entry);  // both with the lifecycle lock
  async::Task<> StopAgain(EntryPtr entry);
  void WriteAgainRound();
  async::Task<> WriteAgain(std::vector<EntryPtr> due);
  async::Task<> WriteAgainEach(std::vector<EntryPtr> due);
  // Those whose first process has ended while nobody looked.
  void DeadRound();
  async::Task<> ClearOne(EntryPtr entry);
  // With the lifecycle lock: in its row, too.
  async::Task<> NoteFailed(EntryPtr entry, std::string why);

  async::Task<> LoadInto(Result<void>& result);

  // usage_round.cc
  struct Looked;
  std::vector<Looked> WhoRuns();
  void LookAt(Looked& one);
  void NoteOom(const std::string& id, const std::string& iid, uint64_t oom_kills, int64_t began_ms);
  async::Task<> WriteOom(std::string id, std::string iid);
  HostState LookAtHost() const;
  Occupancy CountLoad(const std::set<std::string>& starting) const;
  // Limits of a new one; nothing: the configured ones.
  struct AskedFor {
    std::optional<uint64_t> memory_bytes = std::nullopt;
    std::optional<uint64_t> disk_bytes = std::nullopt;
  };
  // Room for one that is created or started; none is needed by one that runs.
  Row NewRow(std::string id, CreateOptions create) const;
  // For a member of the pool that is to become `id`. POOL_EMPTY: none is ready.
  async::Task<Result<Admission::Ticket>> AdmitClaim(std::string id, CreateOptions create);
  // `from_pool`: members of the pool end, oldest first, where their memory is what is missing.
  async::Task<Result<Admission::Ticket>> Admit(std::string id, AskedFor asked,
                                               std::chrono::milliseconds wait,
                                               bool from_pool = true);

  async::Task<> ReconcileInto(Result<void>& result);
  async::Task<> Sweep();
  async::Task<> ReconcileAll(size_t begin, size_t end);
  async::Task<> ReconcileOne(EntryPtr entry);
  bool RunsUnasked(const EntryPtr& entry);
  async::Task<Result<void>> Adopt(EntryPtr entry, bool asleep);
};

// Counts snapshots, restores and forks that are under way.
class AtWork {
 public:
  explicit AtWork(std::atomic<int>& count) : count_(count) { ++count_; }
  // What it took is given back at once: the allocator keeps it for the threads otherwise.
  ~AtWork() {
    if (--count_ == 0) ::malloc_trim(0);
  }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  std::atomic<int>& count_;
};

// Milliseconds since it was made, or since the last lap.
class Stopwatch {
 public:
  double Lap() {
    auto now = std::chrono::steady_clock::now();
    double ms = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace atl::sandbox
