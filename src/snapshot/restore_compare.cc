// SPDX-License-Identifier: Apache-2.0
// How the planner decides about one entry.
#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "snapshot/restore_plan.h"

namespace atl::snapshot {

namespace {

using protocol::EntryMeta;
using protocol::TreeEntry;
using repository::Id;
using repository::Node;
using repository::NodeType;

uint32_t TypeBits(NodeType type) {
  switch (type) {
    case NodeType::kFile:
      return S_IFREG;
    case NodeType::kDirectory:
      return S_IFDIR;
    case NodeType::kSymlink:
      return S_IFLNK;
    case NodeType::kFifo:
      return S_IFIFO;
    case NodeType::kSocket:
      return S_IFSOCK;
    case NodeType::kDevice:
      return S_IFBLK;
    case NodeType::kCharDevice:
      return S_IFCHR;
  }
  return 0;
}

bool IsUnmakeable(NodeType type) {
  return type == NodeType::kSocket || type == NodeType::kDevice || type == NodeType::kCharDevice;
}

bool IsDirectory(const TreeEntry& entry) { return S_ISDIR(entry.meta.mode); }

protocol::Timestamp StampOf(repository::Time time) {
  return {.seconds = static_cast<uint64_t>(time.seconds), .nanos = time.nanos};
}

repository::Time TimeOf(const protocol::Timestamp& stamp) {
  return {.seconds = static_cast<int64_t>(stamp.seconds), .nanos = stamp.nanos};
}

bool MetaDiffers(const Node& node, const TreeEntry& entry) {
  // The kernel gives every symlink the same mode.
  if (node.type != NodeType::kSymlink && (entry.meta.mode & 07777U) != node.permissions) {
    return true;
  }
  return entry.meta.uid != node.uid || entry.meta.gid != node.gid ||
         entry.meta.mtime != StampOf(node.mtime) || entry.meta.xattrs != node.xattrs();
}

std::string Join(const std::string& dir, std::string_view name) {
  return dir.empty() ? std::string(name) : fmt::format("{}/{}", dir, name);
}

Unexpected Corrupt(std::string message) {
  return Fail(Code::kInternal, std::move(message), "REPOSITORY_CORRUPT");
}

}  // namespace

EntryMeta MetaOf(const Node& node) {
  return {.mode = TypeBits(node.type) | node.permissions,
          .uid = node.uid,
          .gid = node.gid,
          .mtime = StampOf(node.mtime),
          .xattrs = node.xattrs()};
}

Result<void> CheckContent(const repository::Repository& repository, const Node& node,
                          std::string_view path) {
  uint64_t total = 0;
  for (const Id& id : node.content) {
    auto found = repository.Find({repository::BlobType::kData, id});
    if (!found) {
      return Fail(Code::kInternal,
                  fmt::format("{}: the repository lacks its blob {}", path, id.Hex()),
                  "BLOB_MISSING");
    }
    total += found->blob.PlainLength();
  }
  if (total == node.size) return {};
  return Corrupt(fmt::format("{}: the snapshot says that it has {} bytes, its content has {}", path,
                             node.size, total));
}

Result<void> Planner::Missing(const Level& level, const Node& node) {
  std::string path = Join(level.path, node.name);
  if (kept_.Covers(path)) return {};
  if (!IsLinked(node)) return Put(std::move(path), node);
  AddCandidate(
      {.path = std::move(path), .node = node.Clone(), .state = Candidate::State::kDifferent});
  return {};
}

Result<void> Planner::Extra(std::string path, const TreeEntry& entry) {
  if (mode_ == RestoreOptions::Mode::kMerge) {
    if (IsDirectory(entry)) Enter(Level::Kind::kIgnore);
    return {};
  }
  if (IsDirectory(entry) && kept_.Below(path)) {
    levels_.push_back({.path = std::move(path)});
    return {};
  }
  Remove(std::move(path));
  if (IsDirectory(entry)) Enter(Level::Kind::kDiscard);
  return {};
}

Result<void> Planner::Compare(std::string path, const Node& node, const TreeEntry& entry) {
  bool same_type = (entry.meta.mode & S_IFMT) == TypeBits(node.type);
  if (IsUnmakeable(node.type)) {
    ++result_.special_skipped;
    if (!same_type) return Extra(std::move(path), entry);
    return {};
  }
  if (!same_type) {
    bool directory = IsDirectory(entry);
    if (directory && kept_.Below(path)) {
      Enter(Level::Kind::kIgnore);
      return {};
    }
    if (IsLinked(node)) {
      AddCandidate(
          {.path = std::move(path), .node = node.Clone(), .state = Candidate::State::kDifferent});
    } else {
      TRY(Put(std::move(path), node));
    }
    if (directory) Enter(Level::Kind::kDiscard);
    return {};
  }
  if (node.type == NodeType::kDirectory) return EnterBoth(std::move(path), node, entry);
  if (node.type == NodeType::kFile) return CompareFile(std::move(path), node, entry);
  if (node.type == NodeType::kSymlink && entry.link_target != node.link_target()) {
    return Put(std::move(path), node);
  }
  ++result_.files;
  Keep(std::move(path), node, MetaDiffers(node, entry));
  return {};
}

Result<void> Planner::EnterBoth(std::string path, const Node& node, const TreeEntry& entry) {
  if (levels_.size() > kMaxTreeDepth) return Corrupt(fmt::format("/{}: too deep", path));
  ASSIGN(auto nodes, trees_.Open(node.subtree));
  levels_.push_back({.path = std::move(path),
                     .nodes = std::move(nodes),
                     .meta = MetaOf(node),
                     .differs = MetaDiffers(node, entry),
                     .pending = candidates_.size() + group_members_});
  return {};
}

Result<void> Planner::CompareFile(std::string path, const Node& node, const TreeEntry& entry) {
  using State = Candidate::State;
  // Another name shares the file in place, but not in the snapshot: they have to be parted.
  bool parted = !IsLinked(node) && entry.links > 1;
  bool touched = entry.meta.mtime != StampOf(node.mtime) || !known_ ||
                 !known_->Has(path, node.content, entry.inode, TimeOf(entry.ctime));
  State state = State::kUnknown;
  if (parted || entry.size != node.size) {
    state = State::kDifferent;
  } else if (!touched || (node.size == 0 && node.content.empty())) {
    state = State::kSame;
  }
  bool meta_differs = MetaDiffers(node, entry);
  if (!IsLinked(node)) {
    if (state == State::kDifferent) return Put(std::move(path), node);
    result_.files += 1;
    result_.bytes_total += node.size;
    if (state == State::kSame) {
      Keep(std::move(path), node, meta_differs);
      return {};
    }
    // Its blobs' lengths say where to cut what is read.
    TRY(CheckContent(repository_, node, path));
  }
  AddCandidate({.path = std::move(path),
                .node = node.Clone(),
                .state = state,
                .meta_differs = meta_differs,
                .inode = entry.inode});
  return {};
}

}  // namespace atl::snapshot
