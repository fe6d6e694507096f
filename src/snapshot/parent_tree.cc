// SPDX-License-Identifier: Apache-2.0
#include "snapshot/parent_tree.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <ranges>
#include <utility>
#include <vector>

#include "snapshot/latest.h"

namespace atl::snapshot {

using repository::Id;
using repository::Node;
using repository::NodeType;
using repository::Repository;
using repository::Time;

namespace {

constexpr int64_t kYear0 = -62'167'219'200;
constexpr int64_t kYear10000 = 253'402'300'800;
constexpr uint32_t kNanos = 1'000'000'000;

// A file system may keep what RFC 3339 cannot say.
Time TimeOf(const protocol::Timestamp& stamp) {
  auto seconds = static_cast<int64_t>(stamp.seconds);
  return {.seconds = std::clamp(seconds, kYear0, kYear10000 - 1),
          .nanos = std::min(stamp.nanos, kNanos - 1)};
}

std::optional<NodeType> TypeOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return NodeType::kFile;
    case S_IFDIR:
      return NodeType::kDirectory;
    case S_IFLNK:
      return NodeType::kSymlink;
    case S_IFIFO:
      return NodeType::kFifo;
    case S_IFSOCK:
      return NodeType::kSocket;
    case S_IFBLK:
      return NodeType::kDevice;
    case S_IFCHR:
      return NodeType::kCharDevice;
    default:
      return std::nullopt;
  }
}

// How far apart two stamps of different changes are at least.
int64_t TickNanos() {
  timespec tick{};
  if (clock_getres(CLOCK_REALTIME_COARSE, &tick) != 0) return 10'000'000;
  return tick.tv_sec * int64_t{kNanos} + tick.tv_nsec;
}

Time Before(Time time, int64_t nanos) {
  int64_t left = static_cast<int64_t>(time.nanos) - nanos % kNanos;
  time.seconds -= nanos / kNanos;
  if (left < 0) {
    --time.seconds;
    left += kNanos;
  }
  time.nanos = static_cast<uint32_t>(left);
  return time;
}

// The tree of `dir` inside `root`.
Result<std::optional<Id>> Descend(Repository& repository, Id root, std::string_view dir,
                                  const std::stop_token& stop) {
  for (auto part : std::views::split(dir, '/')) {
    std::string_view name(part.begin(), part.end());
    if (name.empty()) continue;
    ASSIGN(Repository::Tree tree, LoadParentTree(repository, root, stop));
    if (!tree) return std::nullopt;
    auto at = std::ranges::lower_bound(
        *tree, name, {}, [](const Node& node) { return std::string_view(node.name); });
    if (at == tree->end() || at->name != name || at->type != NodeType::kDirectory) {
      return std::nullopt;
    }
    root = at->subtree;
  }
  return root;
}

}  // namespace

Result<Repository::Tree> LoadParentTree(Repository& repository, const Id& tree,
                                        const std::stop_token& stop) {
  auto loaded = repository.LoadTree(tree, stop);
  if (loaded) return *std::move(loaded);
  // A damaged or missing tree only costs reading again what it said.
  if (loaded.error().code == Code::kInternal || loaded.error().code == Code::kNotFound) {
    return nullptr;
  }
  return Unexpected(std::move(loaded).error());
}

Result<std::optional<Parent>> FindParent(Repository& repository, const repository::Tags& tags,
                                         std::string_view dir, const std::stop_token& stop) {
  std::vector<repository::SnapshotRecord> records = repository.Snapshots();
  std::vector<const repository::SnapshotRecord*> its;
  for (const repository::SnapshotRecord& record : records) {
    repository::Tags other = record.decoded_tags();
    if (other.sandbox == tags.sandbox && other.dir == dir) its.push_back(&record);
  }
  if (its.empty()) return std::nullopt;
  const repository::SnapshotRecord* newest = Latest(its);
  ASSIGN(std::optional<Id> tree, Descend(repository, newest->tree, dir, stop));
  return Parent{.record = *newest, .tree = tree};
}

std::optional<Node> NodeOf(protocol::TreeEntry&& entry) {
  auto type = TypeOf(entry.meta.mode);
  if (!type) return std::nullopt;
  Node node;
  node.type = *type;
  node.name = std::move(entry.name);
  node.mtime = TimeOf(entry.meta.mtime);
  node.ctime = TimeOf(entry.ctime);
  node.inode = entry.inode;
  node.uid = entry.meta.uid;
  node.gid = entry.meta.gid;
  node.permissions = entry.meta.mode & 07777;
  // As restic: a directory has neither a size nor links, which change with what is in it.
  if (*type == NodeType::kFile) node.size = entry.size;
  if (*type != NodeType::kDirectory) {
    node.links = static_cast<uint32_t>(std::min<uint64_t>(entry.links, UINT32_MAX));
  }
  if (*type == NodeType::kDevice || *type == NodeType::kCharDevice) node.device = entry.device;
  bool link = *type == NodeType::kSymlink;
  if (link || !entry.meta.xattrs.empty()) {
    node.extra = std::make_unique<Node::Extra>();
    if (link) node.extra->link_target = std::move(entry.link_target);
    node.extra->xattrs = std::move(entry.meta.xattrs);
  }
  return node;
}

bool IsSettled(const Time& ctime, const Time& looked_at) {
  static const int64_t tick = TickNanos();
  return ctime < Before(looked_at, tick);
}

}  // namespace atl::snapshot
