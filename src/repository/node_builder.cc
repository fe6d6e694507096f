// SPDX-License-Identifier: Apache-2.0
#include "repository/node_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "crypto/base64.h"
#include "repository/node_json.h"

namespace atl::repository {
namespace {

using Member = NodeBuilder::Member;

// A byte of a name takes at most ten characters (\U00000041), one that is not UTF-8 becomes three.
constexpr size_t kMaxQuotedName = kMaxName * 10;
constexpr size_t kMaxLossyTarget = kMaxLinkTarget * 3;
constexpr size_t kShortText = 128;

constexpr size_t Base64Bytes(size_t plain) { return (plain + 2) / 3 * 4; }

uint32_t Bit(Member member) { return 1U << static_cast<unsigned>(member); }

Result<void> Narrow(std::string_view what, uint64_t value, uint32_t& to) {
  if (value > std::numeric_limits<uint32_t>::max()) {
    return CorruptTree(fmt::format("a {} of {}", what, value));
  }
  to = static_cast<uint32_t>(value);
  return {};
}

}  // namespace

Member NodeBuilder::MemberOf(std::string_view name) {
  struct Row {
    std::string_view name;
    Member member;
  };
  constexpr Row kRows[] = {
      {"name", Member::kName},
      {"type", Member::kType},
      {"mode", Member::kMode},
      {"mtime", Member::kMtime},
      {"ctime", Member::kCtime},
      {"uid", Member::kUid},
      {"gid", Member::kGid},
      {"inode", Member::kInode},
      {"size", Member::kSize},
      {"links", Member::kLinks},
      {"content", Member::kContent},
      {"subtree", Member::kSubtree},
      {"linktarget", Member::kLinkTarget},
      {"linktarget_raw", Member::kLinkTargetRaw},
      {"extended_attributes", Member::kXattrs},
      {"device", Member::kDevice},
  };
  for (const Row& row : kRows) {
    if (row.name == name) return row.member;
  }
  return Member::kUnknown;
}

size_t NodeBuilder::TextLimit(Member member) {
  switch (member) {
    case Member::kName:
      return kMaxQuotedName;
    case Member::kType:
    case Member::kMtime:
    case Member::kCtime:
    case Member::kSubtree:
      return kShortText;
    case Member::kLinkTarget:
      return kMaxLossyTarget;
    case Member::kLinkTargetRaw:
      return Base64Bytes(kMaxLinkTarget);
    default:
      return 0;
  }
}

bool NodeBuilder::IsNumber(Member member) {
  switch (member) {
    case Member::kMode:
    case Member::kUid:
    case Member::kGid:
    case Member::kInode:
    case Member::kSize:
    case Member::kLinks:
    case Member::kDevice:
      return true;
    default:
      return false;
  }
}

void NodeBuilder::Begin() {
  node_ = {};
  seen_ = 0;
  mode_ = 0;
  link_target_.clear();
  link_target_raw_.clear();
  xattrs_.clear();
  xattr_bytes_ = 0;
}

Result<void> NodeBuilder::See(Member member) {
  if (member == Member::kUnknown) return {};
  if ((seen_ & Bit(member)) != 0) return CorruptTree("a node has a member twice");
  seen_ |= Bit(member);
  return {};
}

Result<void> NodeBuilder::Text(Member member, std::string_view value) {
  switch (member) {
    case Member::kName: {
      ASSIGN(node_.name, UnquoteName(value));
      if (!IsNodeName(node_.name)) {
        return CorruptTree(fmt::format("\"{}\" is no name of an entry", value.substr(0, 300)));
      }
      return {};
    }
    case Member::kType: {
      auto type = ParseNodeType(value);
      if (!type) return CorruptTree(fmt::format("a node of the type \"{}\"", value));
      node_.type = *type;
      return {};
    }
    case Member::kMtime: {
      ASSIGN(node_.mtime, ParseTime(value));
      return {};
    }
    case Member::kCtime: {
      ASSIGN(node_.ctime, ParseTime(value));
      return {};
    }
    case Member::kSubtree: {
      auto id = ParseId(value);
      if (!id) return CorruptTree("a subtree that is no id");
      node_.subtree = *id;
      return {};
    }
    case Member::kLinkTarget:
      link_target_ = value;
      return {};
    case Member::kLinkTargetRaw: {
      auto raw = crypto::Base64Decode(value);
      if (!raw) return CorruptTree("a link target that is not base64");
      link_target_raw_ = *std::move(raw);
      return {};
    }
    default:
      return {};
  }
}

Result<void> NodeBuilder::Number(Member member, uint64_t value) {
  switch (member) {
    case Member::kMode:
      mode_ = value;
      return {};
    case Member::kUid:
      return Narrow("uid", value, node_.uid);
    case Member::kGid:
      return Narrow("gid", value, node_.gid);
    case Member::kLinks:
      return Narrow("number of links", value, node_.links);
    case Member::kInode:
      node_.inode = value;
      return {};
    case Member::kDevice:
      node_.device = value;
      return {};
    case Member::kSize:
      if (value > kMaxFileSize) return CorruptTree(fmt::format("a file of {} bytes", value));
      node_.size = value;
      return {};
    default:
      return {};
  }
}

Result<void> NodeBuilder::Content(std::string_view id) {
  if (node_.content.size() >= kMaxContent) return CorruptTree("a file of too many blobs");
  auto parsed = ParseId(id);
  if (!parsed) return CorruptTree("a blob of a file that is no id");
  node_.content.push_back(*parsed);
  return {};
}

Result<void> NodeBuilder::XattrName(std::string_view name) {
  if (name.empty() || name.size() > kMaxXattrName || name.find('\0') != std::string_view::npos) {
    return CorruptTree("an extended attribute without a proper name");
  }
  xattr_.first = name;
  return {};
}

Result<void> NodeBuilder::XattrValue(std::string_view base64) {
  auto value = crypto::Base64Decode(base64);
  if (!value || value->size() > kMaxXattrValue) {
    return CorruptTree("an extended attribute without a proper value");
  }
  xattr_.second = *std::move(value);
  return {};
}

Result<void> NodeBuilder::EndXattr() {
  if (xattr_.first.empty()) return CorruptTree("an extended attribute without a name");
  xattr_bytes_ += xattr_.first.size() + xattr_.second.size();
  if (xattrs_.size() >= kMaxXattrs || xattr_bytes_ > kMaxXattrBytes) {
    return CorruptTree("a node of too many extended attributes");
  }
  xattrs_.push_back(std::exchange(xattr_, {}));
  return {};
}

Result<void> NodeBuilder::CheckType() const {
  bool directory = node_.type == NodeType::kDirectory;
  if (directory && (seen_ & Bit(Member::kSubtree)) == 0) {
    return CorruptTree(fmt::format("\"{}\" has no subtree", QuoteName(node_.name)));
  }
  return {};
}

Result<void> NodeBuilder::TakeLinkTarget() {
  if (node_.type != NodeType::kSymlink) {
    link_target_.clear();
    return {};
  }
  if (!link_target_raw_.empty()) link_target_ = std::move(link_target_raw_);
  if (link_target_.empty() || link_target_.size() > kMaxLinkTarget ||
      link_target_.find('\0') != std::string::npos) {
    return CorruptTree(fmt::format("\"{}\" has no proper link target", QuoteName(node_.name)));
  }
  return {};
}

// Names that are not UTF-8 may have become the same: one stays.
void NodeBuilder::SortXattrs() {
  using Pair = Xattrs::value_type;
  std::ranges::sort(xattrs_);
  auto doubled = std::ranges::unique(xattrs_, {}, &Pair::first);
  xattrs_.erase(doubled.begin(), doubled.end());
}

Result<Node> NodeBuilder::Finish(std::string_view previous) {
  if (node_.name.empty() || (seen_ & Bit(Member::kType)) == 0) {
    return CorruptTree("a node without a name or a type");
  }
  if (node_.name <= previous) {
    return CorruptTree(
        fmt::format("\"{}\" comes behind \"{}\"", QuoteName(node_.name), QuoteName(previous)));
  }
  TRY(CheckType());
  TRY(TakeLinkTarget());
  node_.permissions = PermissionsOfGoMode(mode_);
  if (node_.type != NodeType::kDirectory) node_.subtree = {};
  if (node_.type != NodeType::kFile) {
    node_.content = {};
    node_.size = 0;
  } else if (node_.content.capacity() > node_.content.size() + 4) {
    node_.content.shrink_to_fit();
  }
  if (node_.type != NodeType::kDevice && node_.type != NodeType::kCharDevice) node_.device = 0;
  if (!link_target_.empty() || !xattrs_.empty()) {
    SortXattrs();
    node_.extra = std::make_unique<Node::Extra>();
    node_.extra->link_target = std::move(link_target_);
    node_.extra->xattrs = std::move(xattrs_);
  }
  return std::move(node_);
}

}  // namespace atl::repository
