// SPDX-License-Identifier: Apache-2.0
#include "snapshot/browse.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "snapshot/blob_ahead.h"
#include "snapshot/tree_cursor.h"

namespace atl::snapshot {
namespace {

using repository::BlobType;
using repository::Id;
using repository::Node;
using repository::NodeType;
using repository::Repository;
using repository::SnapshotRecord;

constexpr size_t kMaxPath = 128U << 10U;

Unexpected NotFound(const SnapshotRecord& snapshot, std::string_view path) {
  return Fail(Code::kNotFound,
              fmt::format("snapshot {} has no \"{}\"", snapshot.id().Short(), path),
              "PATH_NOT_FOUND");
}

std::vector<std::string_view> Parts(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    size_t slash = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

// Of "/", which no tree names.
Node RootNode(const SnapshotRecord& snapshot) {
  Node node;
  node.type = NodeType::kDirectory;
  node.subtree = snapshot.tree;
  node.permissions = 0755;
  node.mtime = snapshot.time;
  node.ctime = snapshot.time;
  return node;
}

// Nothing when there is no such entry.
Result<std::optional<Node>> Child(Repository& repository, const Id& tree, std::string_view name,
                                  const std::stop_token& stop) {
  ASSIGN(auto cursor, TreeCursor::Open(repository, tree, stop));
  while (true) {
    ASSIGN(const Node* node, cursor->Peek());
    if (node == nullptr || node->name > name) return std::nullopt;
    if (node->name == name) return node->Clone();
    cursor->Pop();
  }
}

Result<std::optional<Node>> Descend(Repository& repository, Node from,
                                    const std::vector<std::string_view>& parts,
                                    const std::stop_token& stop) {
  for (std::string_view part : parts) {
    if (from.type != NodeType::kDirectory) return std::nullopt;
    ASSIGN(auto child, Child(repository, from.subtree, part, stop));
    if (!child) return std::nullopt;
    from = *std::move(child);
  }
  return from;
}

// Where in the tree the snapshot's directory is. restic may have been told that a directory of a
// host is a sandbox's: then the tag names the sandbox's and `paths` what is in the tree. And restic
// keeps `backup dir` below "dir" and `backup .` below nothing, though it records the whole path:
// what Atoll did not write is looked for by ever shorter ends of its path.
Result<Node> FindDir(Repository& repository, const SnapshotRecord& snapshot,
                     const std::stop_token& stop) {
  ASSIGN(std::string dir, SnapshotDir(snapshot));
  bool exact = std::ranges::find(snapshot.paths, dir) != snapshot.paths.end() &&
               !snapshot.decoded_tags().dir.empty();
  if (!exact && snapshot.paths.size() == 1) dir = snapshot.paths[0];
  std::vector<std::string_view> parts = Parts(dir);
  while (true) {
    ASSIGN(auto node, Descend(repository, RootNode(snapshot), parts, stop));
    if (node) return *std::move(node);
    if (exact || parts.empty()) return NotFound(snapshot, dir);
    parts.erase(parts.begin());
  }
}

Result<void> GiveRange(BlobAhead::Plain plain, uint64_t& skip, uint64_t& left,
                       const std::function<Result<void>(std::string_view)>& sink) {
  std::string_view bytes = *plain;
  bytes.remove_prefix(std::min<uint64_t>(skip, bytes.size()));
  skip = 0;
  bytes = bytes.substr(0, std::min<uint64_t>(left, bytes.size()));
  left -= bytes.size();
  return bytes.empty() ? Result<void>() : sink(bytes);
}

}  // namespace

Result<std::string> SnapshotDir(const SnapshotRecord& snapshot) {
  std::string dir = snapshot.decoded_tags().dir;
  if (dir.empty() && snapshot.paths.size() == 1) dir = snapshot.paths.front();
  if (dir.empty()) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("snapshot {} is of {} paths, not of one directory",
                            snapshot.id().Short(), snapshot.paths.size()),
                "SNAPSHOT_OF_SEVERAL_PATHS");
  }
  return dir;
}

Result<Node> FindNode(Repository& repository, const SnapshotRecord& snapshot, std::string_view path,
                      std::stop_token stop) {
  if (path.size() > kMaxPath) return NotFound(snapshot, path.substr(0, 256));
  ASSIGN(Node dir, FindDir(repository, snapshot, stop));
  ASSIGN(auto node, Descend(repository, std::move(dir), Parts(path), stop));
  if (!node) return NotFound(snapshot, path);
  return *std::move(node);
}

Result<Listing> List(Repository& repository, const SnapshotRecord& snapshot, std::string_view path,
                     std::string_view after, size_t limit, std::stop_token stop) {
  Listing listing;
  ASSIGN(listing.node, FindNode(repository, snapshot, path, stop));
  if (listing.node.type != NodeType::kDirectory) return listing;
  ASSIGN(auto cursor, TreeCursor::Open(repository, listing.node.subtree, stop));
  while (true) {
    ASSIGN(const Node* node, cursor->Peek());
    if (node == nullptr) return listing;
    if (after.empty() || node->name > after) {
      if (listing.nodes.size() >= limit) {
        if (!listing.nodes.empty()) listing.next = listing.nodes.back().name;
        return listing;
      }
      listing.nodes.push_back(node->Clone());
    }
    cursor->Pop();
  }
}

Result<void> ReadFile(Repository& repository, const SnapshotRecord& snapshot, std::string_view path,
                      uint64_t offset, uint64_t length,
                      const std::function<Result<void>(std::string_view)>& sink,
                      std::stop_token stop) {
  ASSIGN(Node node, FindNode(repository, snapshot, path, stop));
  if (node.type != NodeType::kFile) {
    return Fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is a {}, not a file", path,
                            node.type == NodeType::kDirectory ? "directory" : "special file"),
                "NOT_A_FILE");
  }
  size_t first = 0;
  for (; first < node.content.size(); ++first) {
    auto at = repository.Find({BlobType::kData, node.content[first]});
    // One that is missing is an error when it is loaded.
    if (!at || at->blob.PlainLength() > offset) break;
    offset -= at->blob.PlainLength();
  }
  BlobAhead ahead(repository, stop);
  uint64_t left = length;
  for (size_t i = first, wanted = first; i < node.content.size() && left > 0; ++i) {
    // A short range does not load what lies behind it.
    auto needed = [&] {
      return wanted == i || ahead.wanted_bytes() < offset || ahead.wanted_bytes() - offset < left;
    };
    while (wanted < node.content.size() && ahead.has_room() && needed()) {
      ahead.Want(node.content[wanted++]);
    }
    ASSIGN(auto plain, ahead.Next());
    TRY(GiveRange(std::move(plain), offset, left, sink));
  }
  return {};
}

}  // namespace atl::snapshot
