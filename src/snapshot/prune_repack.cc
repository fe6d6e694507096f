// SPDX-License-Identifier: Apache-2.0
// Blobs that are still needed move out of packs that leave.
#include <algorithm>
#include <atomic>
#include <thread>
#include <unordered_set>

#include "repository/parallel.h"
#include "snapshot/pack_facts.h"
#include "snapshot/prune_plan.h"

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::PackedBlob;

// Of one request of one thread.
constexpr uint64_t kReadBytes = 8U << 20U;
// Larger ones are verified without holding their plaintext.
constexpr uint64_t kLargeBlob = 8U << 20U;

struct Leaving {
  Id pack;
  std::vector<PackedBlob> blobs;  // that are needed
};

Result<void> Verify(const repository::Key& key, const PackedBlob& blob, std::string_view sealed) {
  if (blob.PlainLength() > kLargeBlob) {
    return OpenBlobTo(key, blob, sealed, [](std::string_view) -> Result<void> { return {}; });
  }
  auto opened = OpenBlob(key, blob, sealed);
  if (!opened) return Unexpected(std::move(opened).error());
  return {};
}

std::vector<Leaving> Collect(const repository::Repository& repository, const UsedBlobs& used,
                             const std::vector<Id>& packs) {
  std::unordered_map<Id, std::vector<PackedBlob>, repository::IdHash> needed;
  for (const Id& pack : packs) needed.try_emplace(pack);
  repository.ForEachBlob([&](const Id& pack, const PackedBlob& blob) {
    const auto found = needed.find(pack);
    if (found != needed.end() && used.Has(blob.handle)) found->second.push_back(blob);
  });
  std::vector<Leaving> leaving;
  for (auto& [pack, blobs] : needed) {
    if (blobs.empty()) continue;
    std::ranges::sort(blobs, {}, &PackedBlob::offset);
    leaving.push_back({.pack = pack, .blobs = std::move(blobs)});
  }
  return leaving;
}

class Mover {
 public:
  Mover(repository::Repository& repository, repository::Session& session,
        const std::stop_token& stop)
      : repository_(repository), session_(session), stop_(stop) {}

  Result<void> Move(const Leaving& leaving) {
    std::vector<PackedBlob> wanted;
    for (const PackedBlob& blob : leaving.blobs) {
      if (!session_.Has(blob.handle)) wanted.push_back(blob);
    }
    const auto read = [&](uint64_t offset, uint64_t length) {
      return repository_.ReadPack(leaving.pack, offset, length, false, stop_);
    };
    const auto take = [&](const PackedBlob& blob, std::string_view sealed) -> Result<void> {
      if (!Verify(repository_.key(), blob, sealed)) return FromElsewhere(blob);
      return Count(session_.Save(repository::SealedBlob{
          .handle = blob.handle, .raw_length = blob.raw_length, .bytes = std::string(sealed)}));
    };
    auto moved = ReadBlobs(wanted, kReadBytes, read, take);
    if (moved || moved.error().code != Code::kNotFound) return moved;
    // The pack is not there: what is needed of it must be in others.
    for (const PackedBlob& blob : wanted) {
      if (!session_.Has(blob.handle)) TRY(FromElsewhere(blob));
    }
    return {};
  }
  uint64_t moved() const { return moved_; }

 private:
  // The pack is damaged, or its copy in the cache: any place that is good is good enough.
  Result<void> FromElsewhere(const PackedBlob& blob) {
    ASSIGN(const std::string plain, repository_.Load(blob.handle, stop_));
    return Count(session_.Save(blob.handle, plain));
  }
  Result<void> Count(Result<repository::Session::Saved> saved) {
    if (!saved) return Unexpected(std::move(saved).error());
    if (saved->added) ++moved_;
    return {};
  }

  repository::Repository& repository_;
  repository::Session& session_;
  const std::stop_token stop_;
  std::atomic<uint64_t> moved_ = 0;
};

}  // namespace

Result<Repacked> Repack(repository::Repository& repository, const UsedBlobs& used,
                        const std::vector<Id>& leaving,
                        const std::function<void(double done)>& progress, std::stop_token stop) {
  const std::vector<Leaving> packs = Collect(repository, used, leaving);
  if (packs.empty()) return Repacked();
  ASSIGN(const auto session, repository.BeginRepack(leaving, stop));
  Mover mover(repository, *session, stop);
  std::mutex mutex;
  size_t done = 0;
  const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 4);
  TRY(repository::ForEachParallel(
      threads, std::span<const Leaving>(packs), [&](const Leaving& pack) -> Result<void> {
        TRY(mover.Move(pack));
        const std::lock_guard lock(mutex);
        if (progress) progress(static_cast<double>(++done) / static_cast<double>(packs.size()));
        return {};
      }));
  TRY(session->Flush());
  return Repacked{.blobs = mover.moved(), .bytes = session->totals().added_packed};
}

}  // namespace atl::snapshot
