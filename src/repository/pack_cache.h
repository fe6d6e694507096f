// SPDX-License-Identifier: Apache-2.0
// Whole packs of a remote store on the local disk, bounded, least recently used first out. The
// files' times say when they were used, so that several processes can share the directory. What is
// read from here is not verified: its blobs are.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "repository/id.h"

namespace atl::repository {

class PackCache {
 public:
  // Without a directory a few packs are kept in memory.
  PackCache(std::string dir, uint64_t limit);

  // Nothing when the pack is not there, or not as long.
  std::optional<std::string> Read(const Id& pack, uint64_t offset, uint64_t length);
  // Best effort: a cache that is full or broken costs requests, nothing else.
  void Put(const Id& pack, std::shared_ptr<const std::string> bytes);
  void Drop(const Id& pack);

 private:
  std::string PathOf(const Id& pack) const;
  Result<void> Write(const Id& pack, std::string_view bytes);
  void Trim();

  const std::string dir_;
  const uint64_t limit_;
  std::mutex mutex_;
  uint64_t written_since_trim_ = 0;
  struct Kept {
    Id pack;
    std::shared_ptr<const std::string> bytes;
  };
  std::list<Kept> kept_;  // without a directory; the latest in front
  uint64_t kept_bytes_ = 0;
};

}  // namespace atl::repository
