// SPDX-License-Identifier: Apache-2.0
// Mounting buckets into sandboxes, when they are asked for and at every start.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "oci/bucket_client.h"
#include "sandbox/files.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::milliseconds kMountLimit{15'000};
// All of a sandbox's at its start, which does not fail for them.
constexpr std::chrono::milliseconds kStartLimit{10'000};

Unexpected NotMounted(const std::string& path) {
  return Fail(Code::kNotFound, fmt::format("no bucket is mounted at {}", path),
              "BUCKET_NOT_MOUNTED");
}

BucketState StateOf(BucketRequest request) {
  request.access_key.clear();
  request.secret_key.clear();
  return BucketState{.request = std::move(request)};
}

oci::BucketMount MountOf(const Row& row, int slot, const BucketRequest& request, int pidfd) {
  return {.iid = row.iid,
          .slot = slot,
          .id_base = row.id_base(),
          .bucket = request.bucket,
          .prefix = request.prefix,
          .endpoint = request.endpoint,
          .region = request.region,
          .read_only = request.read_only,
          .access_key = request.access_key,
          .secret_key = request.secret_key,
          .path = request.path,
          .sandbox_pidfd = pidfd};
}

int FreeSlot(const std::vector<KeptBucket>& kept) {
  for (int slot = 0; slot < oci::kMostBuckets; ++slot) {
    if (std::ranges::find(kept, slot, &KeptBucket::slot) == kept.end()) return slot;
  }
  return -1;
}

}  // namespace

// Blocks.
Result<void> Registry::Impl::AddBucket(const Row& row, const Sandbox& sandbox,
                                       const BucketRequest& request, std::stop_token given_up) {
  oci::BucketClients clients = launcher.buckets();
  std::string file = launcher.BucketsFile(row.iid);
  ASSIGN(std::vector<KeptBucket> kept, LoadBuckets(file));
  auto same = std::ranges::find_if(
      kept, [&](const KeptBucket& one) { return one.request.path == request.path; });
  if (same != kept.end()) {
    bool serves = clients.Serves(row.iid, same->slot);
    BucketRequest known = same->request;
    if (!known.secret.empty()) {
      known.access_key = request.access_key;
      known.secret_key = request.secret_key;
    }
    if (serves && known == request) return {};
    if (serves) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("another bucket is mounted at {}", request.path), "RESOURCE_BUSY");
    }
    TRY(clients.Unmount(row.iid, same->slot, sandbox.pid(), sandbox.pidfd()));
    kept.erase(same);
    TRY(StoreBuckets(file, kept));
  }
  for (const KeptBucket& one : kept) {
    if (!PathsOverlap(one.request.path, request.path)) continue;
    return Fail(Code::kFailedPrecondition,
                fmt::format("a bucket is mounted at {}", one.request.path), "RESOURCE_BUSY");
  }
  int slot = FreeSlot(kept);
  if (slot < 0) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("a sandbox has {} buckets at most", oci::kMostBuckets),
                "TOO_MANY_BUCKETS");
  }
  // Before it is mounted: a daemon that dies now finds what it may have left.
  std::vector<KeptBucket> more = kept;
  more.push_back({.slot = slot, .request = request});
  TRY(StoreBuckets(file, more));
  oci::BucketMount mount = MountOf(row, slot, request, sandbox.pidfd());
  mount.must_be_empty = true;
  auto unwanted = [&given_up] { return given_up.stop_requested(); };
  Result<void> mounted = clients.Mount(mount, launcher.CgroupOf(row.iid), kMountLimit, unwanted);
  if (!mounted) (void)StoreBuckets(file, kept);
  return mounted;
}

async::Task<> Registry::Impl::MountBucketInto(std::shared_ptr<Sandbox> sandbox,
                                              BucketRequest request, Result<BucketState>& result) {
  co_await async::DisableCancellation();
  Result<Held> held = co_await Hold(sandbox->id(), false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  Row row;
  std::stop_token given_up;
  {
    std::lock_guard guard(mutex);
    row = held->entry->row;
    given_up = held->entry->deleting.get_token();
    if (held->entry->sandbox != sandbox) row.iid.clear();
  }
  if (row.iid.empty()) {
    result = Fail(Code::kFailedPrecondition,
                  fmt::format("sandbox {} was stopped meanwhile", sandbox->id()), "RESOURCE_BUSY");
    co_return;
  }
  auto add = [this, &row, &sandbox, &request, &given_up] {
    return AddBucket(row, *sandbox, request, given_up);
  };
  Result<void> added = co_await transfers.Run(add);
  if (!added) {
    result = Unexpected(std::move(added).error());
    co_return;
  }
  log::Info("sandbox {}: bucket {} is mounted at {}", row.id, request.bucket, request.path);
  result = StateOf(std::move(request));
  result->mounted = true;
}

async::Task<Result<BucketState>> Registry::MountBucket(std::string id, BucketRequest request,
                                                       Waited* waited) {
  CO_ASSIGN(request, SettleBucket(std::move(request), impl_->options.buckets));
  CO_TRY(oci::BucketClients::Available());
  CO_ASSIGN(std::shared_ptr<Sandbox> sandbox, co_await Acquire(std::move(id), waited));
  CO_ASSIGN(std::vector<BucketState> known, co_await Buckets(sandbox->id()));
  // Where one is already, nothing is made, for that would be in the bucket; nor would one whose
  // client has died answer.
  bool is_known = std::ranges::any_of(
      known, [&](const BucketState& one) { return PathsOverlap(one.request.path, request.path); });
  if (!is_known) {
    MakeDir place{.path = request.path, .user = {}, .parents = true};
    CO_TRY(co_await Make(sandbox->agent(), std::move(place)));
  }
  async::Executor executor = co_await async::ThisExecutor();
  Result<BucketState> result;
  co_await async::RunOn(executor,
                        impl_->MountBucketInto(std::move(sandbox), std::move(request), result));
  co_return result;
}

async::Task<Result<void>> Registry::UnmountBucket(std::string id, std::string path) {
  CO_ASSIGN(path, AbsolutePath(path));
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  std::shared_ptr<Sandbox> sandbox = Observe(id);
  auto remove = [this, &path, &sandbox](const Info& info) -> Result<void> {
    std::string file = impl_->launcher.BucketsFile(info.iid);
    ASSIGN(std::vector<KeptBucket> kept, LoadBuckets(file));
    auto found =
        std::ranges::find_if(kept, [&](const KeptBucket& one) { return one.request.path == path; });
    if (found == kept.end()) return NotMounted(path);
    if (sandbox && sandbox->iid() == info.iid) {
      Result<bool> gone = impl_->launcher.buckets().Unmount(info.iid, found->slot, sandbox->pid(),
                                                            sandbox->pidfd());
      // One that has ended meanwhile took its mounts along.
      if (!gone && gone.error().code != Code::kNotFound) return Unexpected(std::move(gone).error());
    }
    kept.erase(found);
    return StoreBuckets(file, kept);
  };
  Result<void> removed = co_await Locked(std::move(id), remove);
  co_return removed;
}

async::Task<Result<std::vector<BucketState>>> Registry::Buckets(std::string id) {
  std::vector<BucketState> states;
  auto look = [this, &states](const Info& info) -> Result<void> {
    bool runs = info.state == State::kRunning || info.state == State::kPaused ||
                info.state == State::kRestoring;
    ASSIGN(std::vector<KeptBucket> kept, LoadBuckets(impl_->launcher.BucketsFile(info.iid)));
    oci::BucketClients clients = impl_->launcher.buckets();
    for (KeptBucket& one : kept) {
      BucketState state = StateOf(std::move(one.request));
      state.mounted = runs && clients.Serves(info.iid, one.slot);
      if (runs && !state.mounted) state.failure = "its client has ended: mount it again";
      states.push_back(std::move(state));
    }
    return {};
  };
  CO_TRY(co_await Locked(std::move(id), look));
  co_return states;
}

async::Task<> Registry::Impl::RestoreBuckets(Row row, std::shared_ptr<Sandbox> sandbox) {
  auto load = [this, &row]() -> Result<std::vector<KeptBucket>> {
    ASSIGN(std::vector<KeptBucket> all, LoadBuckets(launcher.BucketsFile(row.iid)));
    // Clients outlive the daemon that started them.
    std::erase_if(
        all, [&](const KeptBucket& one) { return launcher.buckets().Serves(row.iid, one.slot); });
    return all;
  };
  Result<std::vector<KeptBucket>> kept = co_await runtime.blocking().Run(load);
  if (!kept) log::Error("sandbox {}: its buckets: {}", row.id, kept.error().message);
  if (!kept || kept->empty()) co_return;
  for (const KeptBucket& one : *kept) {
    MakeDir place{.path = one.request.path, .user = {}, .parents = true};
    Result<FileInfo> made = co_await Make(sandbox->agent(), std::move(place));
    if (!made) log::Warning("sandbox {}: {}", row.id, made.error().message);
  }
  auto mount = [this, &row, &kept, &sandbox] {
    oci::BucketClients clients = launcher.buckets();
    auto deadline = std::chrono::steady_clock::now() + kStartLimit;
    for (const KeptBucket& one : *kept) {
      int pidfd = sandbox->pidfd();
      // What an earlier daemon's client has left.
      (void)clients.Unmount(row.iid, one.slot, sandbox->pid(), pidfd);
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      Result<BucketRequest> request = SettleKept(one.request);
      if (!request) {
        log::Warning("sandbox {}: {}: {}", row.id, one.request.path, request.error().message);
        request = one.request;
      }
      oci::BucketMount again = MountOf(row, one.slot, *request, pidfd);
      again.even_dead = true;
      Result<void> done =
          clients.Mount(again, launcher.CgroupOf(row.iid), left, [] { return false; });
      if (!done) {
        log::Warning("sandbox {}: {} is dead until it is mounted again: {}", row.id,
                     one.request.path, done.error().message);
      }
    }
  };
  co_await transfers.Run(mount);
}

// Keys that the daemon has may be others than they were.
Result<BucketRequest> Registry::Impl::SettleKept(const BucketRequest& kept) const {
  BucketRequest request = kept;
  if (!request.secret.empty()) {
    request.access_key.clear();
    request.secret_key.clear();
  }
  return SettleBucket(std::move(request), options.buckets);
}

Result<void> Registry::Impl::RemoveMounts(const Row& row, const Sandbox& sandbox) {
  ASSIGN(std::vector<KeptBucket> kept, LoadBuckets(launcher.BucketsFile(row.iid)));
  for (const KeptBucket& one : kept) {
    ASSIGN(bool released,
           launcher.buckets().Unmount(row.iid, one.slot, sandbox.pid(), sandbox.pidfd()));
    if (released) continue;
    return Fail(Code::kFailedPrecondition,
                fmt::format("a program uses the bucket at {}", one.request.path));
  }
  return {};
}

}  // namespace atl::sandbox
