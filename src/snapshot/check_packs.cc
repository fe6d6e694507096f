// SPDX-License-Identifier: Apache-2.0
#include "snapshot/check_packs.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/sha256.h"
#include "repository/names.h"
#include "repository/parallel.h"

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::PackedBlob;
using Pack = std::pair<const Id, PackFacts>;

// Of one thread at once: most packs come with two requests.
constexpr uint64_t kReadBytes = 8U << 20U;
constexpr uint64_t kLargeBlob = 8U << 20U;

class PackCheck {
 public:
  PackCheck(repository::Repository& repository, const Pack& pack, Findings& findings,
            const std::stop_token& stop)
      : repository_(repository),
        pack_(pack),
        findings_(findings),
        key_(KeyOf(repository::FileType::kData, pack.first)),
        stop_(stop) {}

  Result<void> Run() {
    auto done = Read();
    if (done) return done;
    if (done.error().code == Code::kCancelled) return done;
    if (done.error().reason != "REPOSITORY_CORRUPT" && done.error().code != Code::kNotFound) {
      return done;
    }
    Tell(done.error().message);
    return {};
  }

 private:
  void Tell(std::string_view what) {
    bad_ = true;
    findings_.Error(fmt::format("pack {}: {}", pack_.first.Short(), what));
  }

  Result<std::string> Range(uint64_t offset, uint64_t length) {
    return repository_.store().GetRange(key_, offset, length, stop_);
  }

  Result<void> Read() {
    const PackFacts& facts = pack_.second;
    ASSIGN(const std::string tail, Range(facts.end, facts.header_bytes));
    ASSIGN(const auto blobs, DecodePackHeader(repository_.key(), tail, facts.size()));
    PackFacts told;
    for (const PackedBlob& blob : blobs) told.Add(blob);
    if (told.digest != facts.digest || told.blobs != facts.blobs) {
      Tell("its header and the index do not name the same blobs");
    }
    TRY(ReadBlobs(
        blobs, kReadBytes,
        [&](uint64_t offset, uint64_t length) -> Result<std::string> {
          ASSIGN(std::string bytes, Range(offset, length));
          hash_.Update(bytes);
          return bytes;
        },
        [&](const PackedBlob& blob, std::string_view sealed) -> Result<void> {
          auto verified = Verify(blob, sealed);
          if (verified) return {};
          Tell(fmt::format("{} blob {}: {}", BlobTypeName(blob.handle.type), blob.handle.id.Short(),
                           verified.error().message));
          return {};
        }));
    hash_.Update(tail);
    const Id hash{.bytes = hash_.Finish()};
    if (hash != pack_.first && !bad_) Tell("the content is not what the name says");
    return {};
  }

  Result<void> Verify(const PackedBlob& blob, std::string_view sealed) const {
    if (blob.PlainLength() > kLargeBlob) {
      return OpenBlobTo(repository_.key(), blob, sealed,
                        [](std::string_view) -> Result<void> { return {}; });
    }
    auto opened = OpenBlob(repository_.key(), blob, sealed);
    if (!opened) return Unexpected(std::move(opened).error());
    return {};
  }

  repository::Repository& repository_;
  const Pack& pack_;
  Findings& findings_;
  const std::string key_;
  const std::stop_token stop_;
  crypto::Sha256 hash_;
  bool bad_ = false;
};

}  // namespace

Result<void> CheckPackContents(repository::Repository& repository,
                               const std::map<Id, PackFacts>& packs, Findings& findings,
                               const std::function<void(double)>& progress, std::stop_token stop) {
  std::vector<const Pack*> all;
  uint64_t bytes = 0;
  for (const Pack& pack : packs) {
    all.push_back(&pack);
    bytes += pack.second.size();
  }
  std::mutex mutex;
  uint64_t done = 0;
  const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 8);
  return repository::ForEachParallel(
      threads, std::span<const Pack* const>(all), [&](const Pack* pack) -> Result<void> {
        if (stop.stop_requested()) return Fail(Code::kCancelled, "stopped while packs were read");
        TRY(PackCheck(repository, *pack, findings, stop).Run());
        const std::lock_guard lock(mutex);
        done += pack->second.size();
        if (progress) progress(static_cast<double>(done) / static_cast<double>(bytes));
        return {};
      });
}

}  // namespace atl::snapshot
