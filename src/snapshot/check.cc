// SPDX-License-Identifier: Apache-2.0
// Whether a repository is sound: everything is read from the store again, whatever is in memory.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "repository/lock_owner.h"
#include "repository/names.h"
#include "repository/parallel.h"
#include "repository/unpacked.h"
#include "snapshot/check_packs.h"
#include "snapshot/findings.h"
#include "snapshot/maintenance.h"
#include "snapshot/pack_facts.h"
#include "snapshot/used_blobs.h"

namespace atl::snapshot {
namespace {

using repository::FileType;
using repository::Id;
using repository::PackedBlob;

constexpr uint64_t kMaxSmallFile = 64U << 10U;
constexpr uint64_t kMaxSnapshotBytes = 16U << 20U;
constexpr int64_t kStaleMs = 30LL * 60 * 1000;

// What is wrong with the object, not with the way to it.
bool IsDamage(const Error& error) {
  return error.code == Code::kNotFound || error.code == Code::kTooLarge ||
         error.code == Code::kInvalidArgument || error.reason == repository::kCorrupt ||
         error.reason == "CIPHERTEXT_CORRUPT" || error.reason == "BLOB_MISSING" ||
         error.reason == "REPOSITORY_VERSION";
}

class Checking {
 public:
  Checking(repository::Repository& repository, const CheckOptions& options)
      : repository_(repository), store_(repository.store()), options_(options) {}

  Result<CheckResult> Run() {
    Progress("files", 0);
    TRY(CheckConfig());
    TRY(CheckKeys());
    // Taking a lock removes those that are stale.
    TRY(CheckLocks());
    ASSIGN(const auto lock, repository_.LockShared(options_.stop));
    TRY(CheckIndexFiles());
    TRY(LoadSnapshots());
    // The index before the packs: what it names has been stored by then.
    PackMap packs = CollectPacks(repository_);
    TRY(CheckPacks(packs));
    UsedBlobs used;
    TRY(MarkUsed(
        repository_, snapshots_, used, [this](const Error& error) { return Tell("", error); },
        Phase("trees"), options_.stop));
    result_.trees = used.trees();
    HintUnused(used);
    if (options_.read_data) {
      TRY(CheckPackContents(repository_, sound_, findings_, Phase("packs"), options_.stop));
    }
    result_.errors = findings_.TakeErrors();
    result_.hints = findings_.TakeHints();
    return std::move(result_);
  }

 private:
  void Progress(std::string_view phase, double done) const {
    if (options_.on_progress) options_.on_progress(phase, done);
  }
  std::function<void(double)> Phase(std::string_view phase) const {
    return [this, phase](double done) { Progress(phase, done); };
  }
  // An error of an object is told; any other ends the check.
  Result<void> Tell(std::string_view object, const Error& error) {
    if (!IsDamage(error)) return Unexpected(error);
    // Errors of the repository name their object already.
    const bool named = object.empty() || error.message.starts_with(object);
    findings_.Error(named ? error.message : fmt::format("{}: {}", object, error.message));
    return {};
  }
  Result<std::vector<blob::Entry>> List(FileType type) {
    return store_.List({.prefix = repository::PrefixOf(type), .start_after = {}}, options_.stop);
  }
  // Calls `check` for each file of a type, several at a time.
  Result<void> ForEachFile(FileType type, const std::function<Result<void>(const Id& id)>& check) {
    ASSIGN(const auto entries, List(type));
    std::vector<Id> files;
    for (const blob::Entry& entry : entries) {
      const auto parsed = repository::ParseKey(entry.key);
      if (parsed && parsed->type == type) files.push_back(parsed->id);
    }
    const size_t threads =
        std::clamp<size_t>(std::thread::hardware_concurrency(), store_.remote() ? 4 : 1, 8);
    return repository::ForEachParallel(threads, std::span<const Id>(files), [&](const Id& id) {
      auto checked = check(id);
      // Another operation may have removed it since.
      if (checked || checked.error().code == Code::kNotFound) return Result<void>();
      return Tell(KeyOf(type, id), checked.error());
    });
  }

  Result<void> CheckConfig() {
    auto check = [&]() -> Result<void> {
      ASSIGN(const auto sealed, store_.Get("config", kMaxSmallFile, options_.stop));
      std::string plain;
      TRY(repository_.key().Open(sealed, plain));
      ASSIGN(const auto json, repository::DecodeUnpacked(plain, kMaxSmallFile));
      ASSIGN(const auto config, repository::RepositoryConfig::FromJson(json));
      if (config.id == repository_.config().id) return {};
      return Fail(Code::kInternal, "it is of another repository",
                  std::string(repository::kCorrupt));
    };
    const auto checked = check();
    return checked ? checked : Tell("config", checked.error());
  }
  Result<void> CheckKeys() {
    return ForEachFile(FileType::kKey, [&](const Id& id) -> Result<void> {
      ASSIGN(const auto bytes, store_.Get(KeyOf(FileType::kKey, id), kMaxSmallFile, options_.stop));
      if (repository::Hash(bytes) != id) {
        return repository::FailCorrupt(FileType::kKey, id, "the content is not what the name says");
      }
      const auto key = repository::KeyFile::FromJson(bytes);
      if (!key) return repository::FailCorrupt(FileType::kKey, id, key.error().message);
      return {};
    });
  }
  Result<void> CheckLocks() {
    const int64_t now_ms = repository::Now().seconds * 1000;
    return ForEachFile(FileType::kLock, [&](const Id& id) -> Result<void> {
      ASSIGN(const auto json, repository::LoadUnpacked(store_, repository_.key(), FileType::kLock,
                                                       id, kMaxSmallFile, options_.stop));
      const auto lock = repository::DecodeLock(json);
      if (!lock) return repository::FailCorrupt(FileType::kLock, id, lock.error().message);
      if (now_ms - (lock->time.seconds * 1000) > kStaleMs) {
        findings_.Hint(fmt::format("lock {} of {}@{}, process {}, is older than 30 minutes",
                                   id.Short(), lock->username, lock->hostname, lock->pid));
      }
      return {};
    });
  }
  Result<void> CheckIndexFiles() {
    return ForEachFile(FileType::kIndex, [&](const Id& id) -> Result<void> {
      ASSIGN(const auto json,
             repository::LoadUnpacked(store_, repository_.key(), FileType::kIndex, id,
                                      repository::kMaxIndexBytes, options_.stop));
      const auto decoded = repository::DecodeIndex(
          json, [](const repository::IndexedPack&) -> Result<void> { return {}; });
      if (!decoded) return repository::FailCorrupt(FileType::kIndex, id, decoded.error().message);
      return {};
    });
  }
  Result<void> LoadSnapshots() {
    std::mutex mutex;
    TRY(ForEachFile(FileType::kSnapshot, [&](const Id& id) -> Result<void> {
      ASSIGN(const auto json,
             repository::LoadUnpacked(store_, repository_.key(), FileType::kSnapshot, id,
                                      kMaxSnapshotBytes, options_.stop));
      auto record = repository::DecodeSnapshot(json);
      if (!record) return repository::FailCorrupt(FileType::kSnapshot, id, record.error().message);
      record->file = id;
      const std::lock_guard lock(mutex);
      snapshots_.push_back(*std::move(record));
      return {};
    }));
    result_.snapshots = snapshots_.size();
    // Those that came since the lock may need what came since.
    return repository_.Refresh(options_.stop);
  }

  Result<void> CheckPacks(const PackMap& packs) {
    ASSIGN(const auto entries, List(FileType::kData));
    std::unordered_map<Id, uint64_t, repository::IdHash> sizes;
    uint64_t orphans = 0;
    uint64_t orphan_bytes = 0;
    for (const blob::Entry& entry : entries) {
      const auto parsed = repository::ParseKey(entry.key);
      if (!parsed || parsed->type != FileType::kData) continue;
      sizes.emplace(parsed->id, entry.size);
      if (packs.contains(parsed->id)) continue;
      ++orphans;
      orphan_bytes += entry.size;
    }
    if (orphans > 0) {
      findings_.Hint(
          fmt::format("{} packs ({} bytes) are in no index: of snapshots under way or cut short",
                      orphans, orphan_bytes));
    }
    for (const auto& [id, facts] : packs) {
      result_.blobs += facts.blobs;
      ++result_.packs;
      const auto found = sizes.find(id);
      if (found == sizes.end()) {
        findings_.Error(
            fmt::format("pack {}: the index names it, but it is not there", id.Short()));
        continue;
      }
      result_.bytes += found->second;
      if (facts.blob_bytes != facts.end) {
        findings_.Error(fmt::format("pack {}: the index says that its blobs overlap or leave gaps",
                                    id.Short()));
      } else if (found->second != facts.size()) {
        findings_.Error(fmt::format("pack {}: it has {} bytes, the index says {}", id.Short(),
                                    found->second, facts.size()));
      } else {
        sound_.emplace(id, facts);
      }
    }
    return {};
  }

  void HintUnused(const UsedBlobs& used) {
    uint64_t unused = 0;
    uint64_t unused_bytes = 0;
    uint64_t doubled = 0;
    uint64_t doubled_bytes = 0;
    std::vector<bool> seen(used.size());
    repository_.ForEachBlob([&](const Id&, const PackedBlob& blob) {
      const auto number = used.Find(blob.handle);
      if (!number) {
        ++unused;
        unused_bytes += blob.length;
      } else if (seen[*number]) {
        ++doubled;
        doubled_bytes += blob.length;
      } else {
        seen[*number] = true;
      }
    });
    if (unused > 0) {
      findings_.Hint(
          fmt::format("{} blobs ({} bytes) are not used by any snapshot", unused, unused_bytes));
    }
    if (doubled > 0) {
      findings_.Hint(fmt::format("{} blobs ({} bytes) are stored twice", doubled, doubled_bytes));
    }
  }

  repository::Repository& repository_;
  blob::Store& store_;
  const CheckOptions& options_;
  Findings findings_;
  std::vector<repository::SnapshotRecord> snapshots_;
  std::map<Id, PackFacts> sound_;
  CheckResult result_;
};

}  // namespace

Result<CheckResult> Check(repository::Repository& repository, const CheckOptions& options) {
  return Checking(repository, options).Run();
}

}  // namespace atl::snapshot
