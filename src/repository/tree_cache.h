// SPDX-License-Identifier: Apache-2.0
// Decoded trees in memory, least recently used first out.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "repository/id.h"
#include "repository/tree.h"

namespace atl::repository {

class TreeCache {
 public:
  using Tree = std::shared_ptr<const std::vector<Node>>;
  explicit TreeCache(uint64_t limit) : limit_(limit) {}

  Tree Find(const Id& id);
  // One that alone takes more than a quarter is not kept.
  void Put(const Id& id, Tree tree);
  uint64_t bytes() const;

 private:
  struct Entry {
    Id id;
    Tree tree;
    uint64_t bytes = 0;
  };
  const uint64_t limit_;
  mutable std::mutex mutex_;
  uint64_t bytes_ = 0;
  std::list<Entry> used_;  // the latest in front
  std::unordered_map<Id, std::list<Entry>::iterator, IdHash> entries_;
};

// What nodes take in memory, roughly.
uint64_t MemoryOf(const std::vector<Node>& nodes);

}  // namespace atl::repository
