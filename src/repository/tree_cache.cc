// SPDX-License-Identifier: Apache-2.0
#include "repository/tree_cache.h"

#include <utility>

namespace atl::repository {
namespace {

constexpr uint64_t kAllocation = 16;
constexpr size_t kInlineString = 15;

uint64_t Outside(const std::string& text) {
  return text.capacity() > kInlineString ? text.capacity() + kAllocation : 0;
}

}  // namespace

uint64_t MemoryOf(const std::vector<Node>& nodes) {
  uint64_t bytes = 256 + (nodes.capacity() * sizeof(Node));
  for (const Node& node : nodes) {
    bytes += Outside(node.name);
    if (node.content.capacity() > 0) bytes += (node.content.capacity() * sizeof(Id)) + kAllocation;
    if (!node.extra) continue;
    bytes += sizeof(Node::Extra) + kAllocation + Outside(node.extra->link_target);
    for (const auto& [name, value] : node.extra->xattrs) {
      bytes += sizeof(Xattrs::value_type) + Outside(name) + Outside(value);
    }
  }
  return bytes;
}

TreeCache::Tree TreeCache::Find(const Id& id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return nullptr;
  used_.splice(used_.begin(), used_, found->second);
  return found->second->tree;
}

void TreeCache::Put(const Id& id, Tree tree) {
  const uint64_t bytes = MemoryOf(*tree);
  if (bytes > limit_ / 4) return;
  std::list<Entry> dropped;  // freed outside the lock
  const std::lock_guard lock(mutex_);
  if (entries_.contains(id)) return;
  used_.push_front({.id = id, .tree = std::move(tree), .bytes = bytes});
  entries_[id] = used_.begin();
  bytes_ += bytes;
  while (bytes_ > limit_) {
    bytes_ -= used_.back().bytes;
    entries_.erase(used_.back().id);
    dropped.splice(dropped.begin(), used_, std::prev(used_.end()));
  }
}

uint64_t TreeCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace atl::repository
