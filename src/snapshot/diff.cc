// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "snapshot/browse.h"
#include "snapshot/tree_cursor.h"

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::Node;
using repository::NodeType;
using repository::Repository;
using repository::SnapshotRecord;
using Kind = DiffEntry::Kind;

bool SameContent(const Node& a, const Node& b) {
  return a.content == b.content && a.link_target() == b.link_target() && a.device == b.device;
}

// A directory's modification time says no more than what else is found to differ in it.
bool SameMetadata(const Node& a, const Node& b) {
  return a.permissions == b.permissions && a.uid == b.uid && a.gid == b.gid &&
         (a.type == NodeType::kDirectory || a.mtime == b.mtime) && a.xattrs() == b.xattrs();
}

// Plaintext of the blobs of `ids` (sorted, each once) that `others` does not have.
uint64_t BytesOnlyIn(Repository& repository, const std::vector<Id>& ids,
                     const std::vector<Id>& others) {
  uint64_t bytes = 0;
  for (const Id& id : ids) {
    if (std::ranges::binary_search(others, id)) continue;
    auto found = repository.Find({repository::BlobType::kData, id});
    if (found) bytes += found->blob.PlainLength();
  }
  return bytes;
}

void SortOnce(std::vector<Id>& ids) {
  std::ranges::sort(ids);
  auto doubled = std::ranges::unique(ids);
  ids.erase(doubled.begin(), doubled.end());
}

class Comparison {
 public:
  Comparison(Repository& repository, size_t limit, std::stop_token stop)
      : repository_(repository), limit_(limit), stop_(std::move(stop)) {}

  // Merges two directories, or takes one of them alone. `path` ends with '/' or is empty.
  Result<void> Directory(const Id* first, const Id* second, const std::string& path, size_t depth);
  Diff Finish();

 private:
  using Cursor = std::unique_ptr<TreeCursor>;
  Result<Cursor> Open(const Id* tree);
  Result<void> Step(const Node* first, const Node* second, const std::string& path, size_t depth);
  Result<void> One(Kind kind, const Node& node, const std::string& path, size_t depth);
  Result<void> Both(const Node& first, const Node& second, const std::string& path, size_t depth);
  void Count(Kind kind, const std::string& path, const Node& node, uint64_t old_size,
             uint64_t new_size);
  static void Collect(std::vector<Id>& ids, const Node& node) {
    ids.insert(ids.end(), node.content.begin(), node.content.end());
  }

  Repository& repository_;
  size_t limit_;
  std::stop_token stop_;
  Diff diff_;
  // Blobs of what differs.
  std::vector<Id> first_ids_;
  std::vector<Id> second_ids_;
};

void Comparison::Count(Kind kind, const std::string& path, const Node& node, uint64_t old_size,
                       uint64_t new_size) {
  switch (kind) {
    case Kind::kAdded:
      ++diff_.added;
      break;
    case Kind::kChanged:
      ++diff_.changed;
      break;
    case Kind::kRemoved:
      ++diff_.removed;
      break;
    case Kind::kMetadata:
      ++diff_.metadata;
      break;
  }
  if (diff_.entries.size() >= limit_) {
    diff_.truncated = true;
    return;
  }
  diff_.entries.push_back({.kind = kind,
                           .path = path + node.name,
                           .type = node.type,
                           .old_size = old_size,
                           .new_size = new_size});
}

Result<Comparison::Cursor> Comparison::Open(const Id* tree) {
  if (tree == nullptr) return nullptr;
  return TreeCursor::Open(repository_, *tree, stop_);
}

Result<void> Comparison::Directory(const Id* first, const Id* second, const std::string& path,
                                   size_t depth) {
  if (first != nullptr && second != nullptr && *first == *second) return {};
  if (depth > kMaxBrowseDepth) {
    return Fail(Code::kInternal,
                fmt::format("directories are nested deeper than {} levels", kMaxBrowseDepth),
                "REPOSITORY_CORRUPT");
  }
  ASSIGN(Cursor left, Open(first));
  ASSIGN(Cursor right, Open(second));
  while (true) {
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "the comparison was given up");
    const Node* a = nullptr;
    const Node* b = nullptr;
    if (left) {
      ASSIGN(a, left->Peek());
    }
    if (right) {
      ASSIGN(b, right->Peek());
    }
    if (a == nullptr && b == nullptr) return {};
    if (a != nullptr && b != nullptr) {
      if (a->name < b->name)
        b = nullptr;
      else if (b->name < a->name)
        a = nullptr;
    }
    TRY(Step(a, b, path, depth));
    if (a != nullptr) left->Pop();
    if (b != nullptr) right->Pop();
  }
}

Result<void> Comparison::Step(const Node* first, const Node* second, const std::string& path,
                              size_t depth) {
  if (first != nullptr && second != nullptr && first->type == second->type) {
    return Both(*first, *second, path, depth);
  }
  if (first != nullptr) TRY(One(Kind::kRemoved, *first, path, depth));
  if (second != nullptr) TRY(One(Kind::kAdded, *second, path, depth));
  return {};
}

Result<void> Comparison::One(Kind kind, const Node& node, const std::string& path, size_t depth) {
  bool added = kind == Kind::kAdded;
  Count(kind, path, node, added ? 0 : node.size, added ? node.size : 0);
  Collect(added ? second_ids_ : first_ids_, node);
  if (node.type != NodeType::kDirectory) return {};
  return Directory(added ? nullptr : &node.subtree, added ? &node.subtree : nullptr,
                   path + node.name + "/", depth + 1);
}

Result<void> Comparison::Both(const Node& first, const Node& second, const std::string& path,
                              size_t depth) {
  if (!SameContent(first, second)) {
    Count(Kind::kChanged, path, second, first.size, second.size);
    Collect(first_ids_, first);
    Collect(second_ids_, second);
  } else if (!SameMetadata(first, second)) {
    Count(Kind::kMetadata, path, second, first.size, second.size);
  }
  if (first.type != NodeType::kDirectory || first.subtree == second.subtree) return {};
  return Directory(&first.subtree, &second.subtree, path + second.name + "/", depth + 1);
}

Diff Comparison::Finish() {
  SortOnce(first_ids_);
  SortOnce(second_ids_);
  diff_.bytes_added = BytesOnlyIn(repository_, second_ids_, first_ids_);
  diff_.bytes_removed = BytesOnlyIn(repository_, first_ids_, second_ids_);
  return std::move(diff_);
}

}  // namespace

Result<Diff> Compare(Repository& repository, const SnapshotRecord& first,
                     const SnapshotRecord& second, size_t limit, std::stop_token stop) {
  ASSIGN(Node left, FindNode(repository, first, "", stop));
  ASSIGN(Node right, FindNode(repository, second, "", stop));
  auto tree = [](const Node& node) {
    return node.type == NodeType::kDirectory ? &node.subtree : nullptr;
  };
  Comparison comparison(repository, limit, std::move(stop));
  TRY(comparison.Directory(tree(left), tree(right), "", 0));
  return comparison.Finish();
}

}  // namespace atl::snapshot
