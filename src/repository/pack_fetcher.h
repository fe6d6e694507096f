// SPDX-License-Identifier: Apache-2.0
// Reads parts of packs, on a remote store through the cache. A whole pack that several threads want
// is fetched once; the bytes on their way are bounded.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "blob/store.h"
#include "repository/id.h"
#include "repository/pack_cache.h"

namespace atl::repository {

class PackFetcher {
 public:
  PackFetcher(blob::Store& store, std::string cache_dir, uint64_t cache_bytes)
      : store_(store), cache_(store.remote() ? std::move(cache_dir) : std::string(), cache_bytes) {}

  struct Part {
    std::string bytes;
    bool cached = false;  // it comes from the cache
  };
  // `pack_bytes`: about how long the pack is, as far as known.
  Result<Part> Read(const Id& pack, uint64_t offset, uint64_t length, bool keep,
                    uint64_t pack_bytes, const std::stop_token& stop);
  // A pack that was just stored.
  void Remember(const Id& pack, std::shared_ptr<const std::string> bytes);
  void Drop(const Id& pack) {
    if (store_.remote()) cache_.Drop(pack);
  }

 private:
  using Bytes = std::shared_ptr<const std::string>;
  struct Flight {
    bool done = false;
    Result<Bytes> result;
  };
  Result<Bytes> FetchOnce(const Id& pack, uint64_t pack_bytes, const std::stop_token& stop);
  Result<Bytes> Fetch(const Id& pack, uint64_t pack_bytes, const std::stop_token& stop);

  blob::Store& store_;
  PackCache cache_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<Id, std::shared_ptr<Flight>> flights_;
  uint64_t in_flight_ = 0;
};

}  // namespace atl::repository
