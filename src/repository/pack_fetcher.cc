// SPDX-License-Identifier: Apache-2.0
#include "repository/pack_fetcher.h"

#include <fmt/format.h>

#include <utility>

#include "repository/names.h"
#include "repository/pack.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

// Of whole packs that are on their way.
constexpr uint64_t kMaxInFlight = 64U << 20U;
// Longer ones are read in parts.
constexpr uint64_t kMaxWhole = 160U << 20U;

}  // namespace

Result<PackFetcher::Part> PackFetcher::Read(const Id& pack, uint64_t offset, uint64_t length,
                                            bool keep, uint64_t pack_bytes,
                                            const std::stop_token& stop) {
  if (offset > kMaxPackBytes || length > kMaxPackBytes - offset) {
    return FailCorrupt(FileType::kData, pack,
                       fmt::format("{} bytes at {} are past what a pack may have", length, offset));
  }
  if (store_.remote()) {
    if (auto bytes = cache_.Read(pack, offset, length)) {
      return Part{.bytes = std::move(*bytes), .cached = true};
    }
    if (keep && pack_bytes <= kMaxWhole) {
      ASSIGN(const Bytes whole, FetchOnce(pack, pack_bytes, stop));
      if (whole->size() < offset + length) {
        return FailCorrupt(
            FileType::kData, pack,
            fmt::format("has {} bytes, {} at {} are wanted", whole->size(), length, offset));
      }
      return Part{.bytes = whole->substr(offset, length), .cached = false};
    }
  }
  ASSIGN(auto bytes, store_.GetRange(KeyOf(FileType::kData, pack), offset, length, stop));
  return Part{.bytes = std::move(bytes), .cached = false};
}

void PackFetcher::Remember(const Id& pack, std::shared_ptr<const std::string> bytes) {
  if (store_.remote()) cache_.Put(pack, std::move(bytes));
}

Result<PackFetcher::Bytes> PackFetcher::FetchOnce(const Id& pack, uint64_t pack_bytes,
                                                  const std::stop_token& stop) {
  while (true) {
    std::shared_ptr<Flight> flight;
    bool leads = false;
    {
      std::unique_lock lock(mutex_);
      auto& slot = flights_[pack];
      leads = slot == nullptr;
      if (leads) slot = std::make_shared<Flight>();
      flight = slot;
      if (!leads && !changed_.wait(lock, stop, [&] { return flight->done; })) {
        return Fail(Code::kCancelled, "stopped while a pack was fetched");
      }
    }
    if (!leads) {
      // Whoever fetched it was told to stop; this one was not.
      if (!flight->result && flight->result.error().code == Code::kCancelled &&
          !stop.stop_requested()) {
        continue;
      }
      return flight->result;
    }
    // Another one may have ended since this one looked.
    auto there = cache_.Read(pack, 0, pack_bytes);
    auto result = there ? Result<Bytes>(std::make_shared<const std::string>(std::move(*there)))
                        : Fetch(pack, pack_bytes, stop);
    const std::lock_guard lock(mutex_);
    flight->result = result;
    flight->done = true;
    flights_.erase(pack);
    changed_.notify_all();
    return result;
  }
}

Result<PackFetcher::Bytes> PackFetcher::Fetch(const Id& pack, uint64_t pack_bytes,
                                              const std::stop_token& stop) {
  {
    std::unique_lock lock(mutex_);
    const auto room = [&] { return in_flight_ == 0 || in_flight_ + pack_bytes <= kMaxInFlight; };
    if (!changed_.wait(lock, stop, room)) {
      return Fail(Code::kCancelled, "stopped while waiting to fetch a pack");
    }
    in_flight_ += pack_bytes;
  }
  auto bytes = store_.Get(KeyOf(FileType::kData, pack), kMaxWhole + kMaxPackHeader, stop);
  Bytes shared;
  if (bytes) shared = std::make_shared<const std::string>(std::move(*bytes));
  // Of a damaged pack some blobs may be whole; it is not kept.
  if (shared && Hash(*shared) == pack) cache_.Put(pack, shared);
  {
    const std::lock_guard lock(mutex_);
    in_flight_ -= pack_bytes;
    changed_.notify_all();
  }
  if (!shared) return std::unexpected(std::move(bytes).error());
  return shared;
}

}  // namespace atl::repository
