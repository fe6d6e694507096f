// SPDX-License-Identifier: Apache-2.0
#include "snapshot/archive_source.h"

#include <fmt/format.h>

#include <utility>

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::Node;
using repository::NodeType;

// Items, and bytes of their paths and ids, that wait for their turn while blobs are read ahead.
constexpr size_t kMaxWaiting = 4096;
constexpr uint64_t kMaxWaitingBytes = 8U << 20U;
// Files of several links that are remembered; the links of more become files of their own.
constexpr size_t kMaxLinked = 200'000;

const BlobAhead::Plain& ZeroChunk() {
  static const auto zeros = std::make_shared<const std::string>(repository::kMinChunk, '\0');
  return zeros;
}

}  // namespace

const Id& ArchiveSource::ZeroChunkId() {
  static const Id id = repository::Hash(*ZeroChunk());
  return id;
}

Result<void> ArchiveSource::Enter(const Id& tree, std::string path) {
  if (levels_.size() > kMaxBrowseDepth) {
    return Fail(Code::kInternal,
                fmt::format("directories are nested deeper than {} levels", kMaxBrowseDepth),
                "REPOSITORY_CORRUPT");
  }
  ASSIGN(auto cursor, TreeCursor::Open(repository_, tree, stop_));
  levels_.push_back({std::move(cursor), std::move(path)});
  return {};
}

// An inode alone says little: the snapshot may be of several file systems.
void ArchiveSource::FindLink(Item& item) {
  Node& node = item.node;
  if (node.type != NodeType::kFile || node.links < 2 || node.inode == 0) return;
  Id content = repository::Hash(
      {reinterpret_cast<const char*>(node.content.data()), node.content.size() * sizeof(Id)});
  auto found = links_.find(node.inode);
  if (found == links_.end()) {
    if (links_.size() < kMaxLinked) links_.emplace(node.inode, Linked{item.path, content});
  } else if (found->second.content == content) {
    item.hard_link = found->second.path;
    node.content.clear();
  }
}

Result<std::optional<ArchiveSource::Item>> ArchiveSource::Pull() {
  while (!levels_.empty()) {
    Level& level = levels_.back();
    ASSIGN(const Node* node, level.cursor->Peek());
    if (node == nullptr) {
      levels_.pop_back();
      continue;
    }
    Item item{.path = level.path + "/" + node->name, .node = node->Clone()};
    level.cursor->Pop();
    if (item.node.type == NodeType::kDirectory) {
      TRY(Enter(item.node.subtree, item.path));
    }
    FindLink(item);
    return item;
  }
  return std::nullopt;
}

void ArchiveSource::WantMore(Waiting& waiting) {
  const auto& content = waiting.item.node.content;
  for (; waiting.wanted < content.size() && ahead_.has_room(); ++waiting.wanted) {
    const Id& id = content[waiting.wanted];
    if (id != ZeroChunkId()) ahead_.Want(id);
  }
}

Result<void> ArchiveSource::Fill() {
  while (ahead_.has_room()) {
    if (wanting_ < waiting_.size()) {
      Waiting& waiting = waiting_[wanting_];
      WantMore(waiting);
      if (waiting.wanted == waiting.item.node.content.size()) ++wanting_;
      continue;
    }
    // There must be one; further ones are read ahead within bounds.
    bool full = waiting_.size() >= kMaxWaiting || waiting_bytes_ >= kMaxWaitingBytes;
    if (at_end_ || (full && !waiting_.empty())) return {};
    ASSIGN(auto item, Pull());
    if (!item) {
      at_end_ = true;
      return {};
    }
    uint64_t bytes = item->path.size() + item->node.content.size() * sizeof(Id);
    waiting_bytes_ += bytes;
    waiting_.push_back({.item = *std::move(item), .bytes = bytes});
  }
  return {};
}

Result<const ArchiveSource::Item*> ArchiveSource::Next() {
  if (begun_ && !waiting_.empty()) {
    waiting_bytes_ -= waiting_.front().bytes;
    waiting_.pop_front();
    if (wanting_ > 0) --wanting_;
  }
  begun_ = true;
  taken_ = 0;
  TRY(Fill());
  return waiting_.empty() ? nullptr : &waiting_.front().item;
}

Result<BlobAhead::Plain> ArchiveSource::NextBlob() {
  Waiting& current = waiting_.front();
  if (taken_ >= current.wanted) TRY(Fill());
  const Id& id = current.item.node.content.at(taken_++);
  if (id == ZeroChunkId()) return ZeroChunk();
  return ahead_.Next();
}

}  // namespace atl::snapshot
