// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>

#include "repository/corrupt.h"
#include "repository/node_json.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

constexpr uint32_t kModeDir = 1U << 31U;
constexpr uint32_t kModeSymlink = 1U << 27U;
constexpr uint32_t kModeDevice = 1U << 26U;
constexpr uint32_t kModeNamedPipe = 1U << 25U;
constexpr uint32_t kModeSocket = 1U << 24U;
constexpr uint32_t kModeSetuid = 1U << 23U;
constexpr uint32_t kModeSetgid = 1U << 22U;
constexpr uint32_t kModeCharDevice = 1U << 21U;
constexpr uint32_t kModeSticky = 1U << 20U;

struct TypeRow {
  std::string_view name;
  uint32_t bits;
};
// In the order of NodeType.
constexpr std::array<TypeRow, 7> kTypes = {{
    {"file", 0},
    {"dir", kModeDir},
    {"symlink", kModeSymlink},
    {"fifo", kModeNamedPipe},
    {"socket", kModeSocket},
    {"dev", kModeDevice},
    {"chardev", kModeDevice | kModeCharDevice},
}};

}  // namespace

std::string_view Node::link_target() const {
  return extra ? std::string_view(extra->link_target) : std::string_view();
}

const Xattrs& Node::xattrs() const {
  static const Xattrs none;
  return extra ? extra->xattrs : none;
}

Node Node::Clone() const {
  Node copy;
  copy.name = name;
  copy.content = content;
  copy.subtree = subtree;
  copy.mtime = mtime;
  copy.ctime = ctime;
  copy.size = size;
  copy.inode = inode;
  copy.device = device;
  copy.uid = uid;
  copy.gid = gid;
  copy.links = links;
  copy.permissions = permissions;
  copy.type = type;
  if (extra) copy.extra = std::make_unique<Extra>(*extra);
  return copy;
}

bool SameNode(const Node& a, const Node& b) {
  return a.name == b.name && a.type == b.type && a.size == b.size && a.mtime == b.mtime &&
         a.ctime == b.ctime && a.inode == b.inode && a.device == b.device && a.uid == b.uid &&
         a.gid == b.gid && a.links == b.links && a.permissions == b.permissions &&
         a.subtree == b.subtree && a.content == b.content && a.link_target() == b.link_target() &&
         a.xattrs() == b.xattrs();
}

std::string_view NodeTypeName(NodeType type) { return kTypes.at(static_cast<size_t>(type)).name; }

std::optional<NodeType> ParseNodeType(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<NodeType>(i);
  }
  return std::nullopt;
}

uint32_t GoMode(NodeType type, uint16_t permissions) {
  uint32_t mode = kTypes.at(static_cast<size_t>(type)).bits | (permissions & 0777U);
  if ((permissions & 04000U) != 0) mode |= kModeSetuid;
  if ((permissions & 02000U) != 0) mode |= kModeSetgid;
  if ((permissions & 01000U) != 0) mode |= kModeSticky;
  return mode;
}

uint16_t PermissionsOfGoMode(uint64_t mode) {
  uint32_t permissions = mode & 0777U;
  if ((mode & kModeSetuid) != 0) permissions |= 04000U;
  if ((mode & kModeSetgid) != 0) permissions |= 02000U;
  if ((mode & kModeSticky) != 0) permissions |= 01000U;
  return static_cast<uint16_t>(permissions);
}

bool IsNodeName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Unexpected CorruptTree(std::string message) { return FailCorrupt("tree: " + std::move(message)); }

}  // namespace atl::repository
