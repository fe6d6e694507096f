// SPDX-License-Identifier: Apache-2.0
// Creating and stopping what runs. A state is written to the database before what it announces is
// begun: `creating` is undone after a crash, `running` is adopted or started again, `stopping` and
// `deleting` are finished.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <functional>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/atoll.h"
#include "oci/image.h"
#include "sandbox/id.h"
#include "sandbox/warm_pool.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {}  // namespace

std::unique_ptr<AgentClient> Registry::Impl::MakeAgent(const Row& row) {
  sys::Cgroup cgroup = launcher.CgroupOf(row.iid);
  int64_t began_ms = NowMs();
  auto counted = cgroup.Usage();
  uint64_t known = counted ? counted->oom_kills : 0;
  usage_book.Begin(row.iid, known, began_ms);
  auto ask = [this, cgroup = std::move(cgroup), id = row.id,
              iid = row.iid](const OomQuestion& question) {
    int64_t looked_ms = NowMs();
    if (auto usage = cgroup.Usage()) NoteOom(id, iid, usage->oom_kills, looked_ms);
    return usage_book.ClaimOom(iid, question);
  };
  return std::make_unique<AgentClient>(
      launcher.RunDir(row.iid) + "/agent.sock", ProgramEnv(options.env, row.env),
      OomBook{.ask = std::move(ask), .memory_bytes = row.limits.memory_bytes});
}

Result<oci::Launched> Registry::Impl::LaunchBlocking(const Row& row, const std::string& checkpoint,
                                                     Phases& phases) {
  Stopwatch watch;
  std::string run_dir = launcher.RunDir(row.iid);
  TRY(sys::MakeDirs(run_dir, 0711));
  ASSIGN(sys::Fd socket, async::Listener::BindUnix(run_dir + "/agent.sock"));
  phases.emplace_back("socket", watch.Lap());
  oci::LaunchSpec spec{.iid = row.iid,
                       .hostname = IsMemberId(row.id) ? std::string(kMemberHostname) : row.id,
                       .image = row.image,
                       .id_base = row.id_base(),
                       .limits = {.memory_bytes = row.limits.memory_bytes,
                                  .cpus = row.limits.cpus,
                                  .pids = row.limits.pids,
                                  .weight = row.limits.weight},
                       .disk_bytes = row.limits.disk_bytes,
                       .inodes = row.limits.inodes,
                       .agent_args = {"serve", "--listen-fd", "3", "--cgroup-fds",
                                      std::to_string(launcher.agent_procs_count())},
                       .agent_socket = socket.get(),
                       .checkpoint = checkpoint};
  for (const auto& [name, value] : ProgramEnv({}, {})) spec.env.push_back(name + "=" + value);
  ASSIGN(oci::Launched launched, launcher.Launch(spec));
  for (auto& phase : launched.phases) phases.push_back(std::move(phase));
  return launched;
}

async::Task<Result<void>> Registry::Impl::Launch(EntryPtr entry, bool commit, Phases& phases,
                                                 std::string checkpoint) {
  auto launch = [this, &entry, &checkpoint, &phases] {
    return LaunchBlocking(entry->row, checkpoint, phases);
  };
  CO_ASSIGN(oci::Launched launched, co_await runtime.blocking().Run(launch));
  Result<void> connected = co_await Connect(entry, std::move(launched), commit, phases);
  co_return connected;
}

namespace {

using Attached = Result<std::unique_ptr<egress::Attachment>>;

async::Task<> AttachNetwork(egress::Egress& egress, std::string iid, sys::Fd netns,
                            Attached& result, Phases& phases) {
  Stopwatch watch;
  result = co_await egress.Attach(std::move(iid), std::move(netns));
  phases.emplace_back("network", watch.Lap());
}

async::Task<> AwaitAgent(AgentClient& agent, std::chrono::milliseconds limit, Result<void>& result,
                         Phases& phases) {
  Stopwatch watch;
  result = co_await agent.WaitReady(limit);
  phases.emplace_back("agent", watch.Lap());
}

async::Task<> CommitRunning(async::Runtime& runtime, const Rows& rows, const std::string& iid,
                            Result<void>& result, Phases& phases) {
  Stopwatch watch;
  auto write = [&rows, &iid] { return rows.SetState(iid, State::kRunning); };
  result = co_await runtime.blocking().Run(write);
  phases.emplace_back("commit", watch.Lap());
}

}  // namespace

async::Task<Result<void>> Registry::Impl::Connect(EntryPtr entry, oci::Launched launched,
                                                  bool commit, Phases& phases) {
  Info info;
  {
    std::lock_guard guard(mutex);
    info = InfoOf(*entry);
  }
  auto sandbox = std::make_shared<Sandbox>(info, MakeAgent(entry->row));
  sandbox->pidfd_ = std::move(launched.pidfd);
  sandbox->pid_ = launched.pid;
  Attached network;
  Result<void> ready;
  Result<void> committed;
  async::Task<> inside = async::Both(
      AttachNetwork(egress, info.iid, std::move(launched.net_namespace), network, phases),
      AwaitAgent(sandbox->agent(), options.agent_deadline, ready, phases));
  // The container runs, so `running` is what a new daemon has to find, whatever happens next.
  if (commit) {
    co_await async::Both(std::move(inside),
                         CommitRunning(runtime, rows, info.iid, committed, phases));
  } else {
    co_await std::move(inside);
  }
  if (!network) co_return Unexpected(std::move(network).error().Wrap("attach the network"));
  CO_TRY(std::move(ready));
  CO_TRY(std::move(committed));
  sandbox->network_ = *std::move(network);
  if (!IsMemberId(info.id)) co_await RestoreBuckets(entry->row, sandbox);
  std::lock_guard guard(mutex);
  entry->row.state = State::kRunning;
  entry->row.failure.clear();
  entry->activity->Touch();
  entry->looked_at = std::chrono::steady_clock::now();
  sandbox->info_ = InfoOf(*entry);
  entry->sandbox = std::move(sandbox);
  co_return Result<void>();
}

async::Task<> Registry::Impl::CreateInto(std::string id, CreateOptions create,
                                         Result<Created>& result) {
  co_await async::DisableCancellation();
  Stopwatch watch;
  EntryPtr entry;
  async::Mutex::Lock lock;
  WantAwake(id);
  while (!entry) {
    Result<Held> held = co_await Hold(id, true);
    if (!held) {
      result = Unexpected(std::move(held).error());
      co_return;
    }
    if (held->entry->exists && held->entry->row.state == State::kDeleting) {
      // Its deletion has failed before. The id is free once that has succeeded.
      Result<void> deleted = co_await DestroyAll(held->entry);
      if (deleted) continue;
      result = Unexpected(std::move(deleted).error().Wrap("finish the deletion of " + id));
      co_return;
    }
    entry = held->entry;
    lock = std::move(held->lock);
  }
  Phases phases;
  std::vector<Recovered> recovered;
  Waited waited;
  Result<void> done;
  if (entry->exists && create.only_from_pool) {
    done = PoolIsEmpty();  // somebody else has made it meanwhile
  } else if (entry->exists) {
    done = co_await MakeRun(entry, phases, &recovered, &waited);
  } else {
    entry->row.id = id;
    done = co_await CreateNew(entry, std::move(create), phases, recovered);
  }
  if (!done) {
    result = Unexpected(std::move(done).error());
    co_return;
  }
  entry->activity->Touch();
  phases.emplace_back("total", watch.Lap());
  std::lock_guard guard(mutex);
  result = Created{.info = InfoOf(*entry),
                   .phases = std::move(phases),
                   .recovered = std::move(recovered),
                   .waited = waited};
}

Row Registry::Impl::NewRow(std::string id, CreateOptions create) const {
  Row row{.id = std::move(id),
          .iid = NewInternalId(),
          .image = create.image.value_or(options.default_image),
          .limits = {.memory_bytes = create.memory_bytes.value_or(options.limits.memory_bytes),
                     .cpus = create.cpus.value_or(options.limits.cpus),
                     .pids = create.pids.value_or(options.limits.pids),
                     .disk_bytes = create.disk_bytes.value_or(options.limits.disk_bytes),
                     .inodes = create.inodes.value_or(options.limits.inodes),
                     .weight = create.weight.value_or(options.limits.weight)},
          .env = std::move(create.env),
          .created_at_ms = NowMs()};
  if (create.snapshots) row.snapshot_policy = snapshot::EncodeAutoPolicy(*create.snapshots);
  if (create.sleep) row.sleep_policy = EncodeSleepPolicy(*create.sleep);
  return row;
}

async::Task<Result<void>> Registry::Impl::CreateNew(EntryPtr entry, CreateOptions create,
                                                    Phases& phases,
                                                    std::vector<Recovered>& recovered) {
  if (sweeps) co_await swept.Wait();
  metrics::Measure measure(metrics::Get().create_seconds);
  measure.SetKind("cold");
  const bool only_from_pool = create.only_from_pool;
  const bool with_opencode = create.with_opencode;
  Row row = NewRow(entry->row.id, std::move(create));
  auto insert = [this, &row]() -> Result<Row> {
    TRY(ValidateLimits(row.limits));
    TRY(ValidateCreateEnv(row.env));
    TRY(oci::ImageStore(options.images_dir).Find(row.image));
    return rows.Insert(row);
  };
  Stopwatch watch;
  Result<Records> records = co_await LookUp(entry, row);
  Result<Row> inserted = Fail(Code::kInternal, "nothing was inserted");
  FromPool taken = FromPool::kNone;
  bool cool = false;
  WarmPool::CreateCount count(pool.get());
  if (records) {
    row.recover = !records->empty();
    cool = pool && pool->hooks.keeps_state_in &&
           std::ranges::any_of(*records, [this](const auto& record) {
             return pool->hooks.keeps_state_in(record.decoded_tags().dir);
           });
    taken = co_await TakeMember(entry, row, cool, phases);
    if (taken == FromPool::kNone && only_from_pool) {
      measure.Drop();
      inserted = PoolIsEmpty();
    } else if (taken == FromPool::kNone) {
      inserted = co_await runtime.blocking().Run(insert);
    }
  } else {
    inserted = Unexpected(records.error());
  }
  Result<void> launched;
  double row_ms = watch.Lap();
  if (taken == FromPool::kNone) {
    phases.emplace_back("row", row_ms);
    if (!inserted) {
      Discard(entry);
      co_return Unexpected(std::move(inserted).error());
    }
    {
      std::lock_guard guard(mutex);
      entry->row = *std::move(inserted);
      entry->exists = true;
      entry->reserved = entry->row.recover;
    }
    if (with_opencode && !cool) taken = co_await StartFromTemplate(entry, phases);
    if (taken == FromPool::kNone) launched = co_await Launch(entry, true, phases);
    if (taken == FromPool::kWorks) measure.SetKind("template");
    if (taken == FromPool::kBroken) launched = co_await LaunchAfresh(entry, phases);
  } else if (taken == FromPool::kWorks) {
    measure.SetKind("pool");
  } else {
    launched = co_await LaunchAfresh(entry, phases);
  }
  if (launched && entry->row.recover) {
    launched = co_await Recover(entry, recovered, *std::move(records));
    phases.emplace_back("recover", watch.Lap());
  }
  Reserve(entry, false);
  measure.Succeeded(launched.has_value());
  if (launched) co_return launched;
  Error error = Late(std::move(launched).error()).Wrap(fmt::format("create sandbox {}", row.id));
  Result<void> undone = co_await DestroyAll(entry);
  if (!undone) {
    error.message += "; undoing it failed too: " + undone.error().message;
    log::Error("{}", error.message);
  }
  co_return Unexpected(std::move(error));
}

async::Task<Result<void>> Registry::Impl::StopContainer(EntryPtr entry, std::string why) {
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    sandbox = std::move(entry->sandbox);
  }
  if (sandbox) sandbox->network_.reset();
  auto stop = [this, &entry, &why]() -> Result<void> {
    TRY(launcher.Stop(entry->row.iid));
    return rows.SetState(entry->row.iid, State::kStopped, {}, why);
  };
  CO_TRY(co_await runtime.blocking().Run(stop));
  SetState(entry, State::kStopped);
  co_return Result<void>();
}

}  // namespace atl::sandbox
