// SPDX-License-Identifier: Apache-2.0
// Makes a node of the members of its JSON, in whatever order they come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "repository/tree.h"

namespace atl::repository {

class NodeBuilder {
 public:
  enum class Member : uint8_t {
    kUnknown,
    kName,
    kType,
    kMode,
    kMtime,
    kCtime,
    kUid,
    kGid,
    kInode,
    kSize,
    kLinks,
    kLinkTarget,
    kLinkTargetRaw,
    kXattrs,
    kDevice,
    kContent,
    kSubtree,
  };
  static Member MemberOf(std::string_view name);
  // Bytes that a string may have; 0: it is none.
  static size_t TextLimit(Member member);
  static bool IsNumber(Member member);

  void Begin();
  // An error when a member comes twice.
  Result<void> See(Member member);
  Result<void> Text(Member member, std::string_view value);
  Result<void> Number(Member member, uint64_t value);
  Result<void> Content(std::string_view id);
  void BeginXattr() { xattr_ = {}; }
  Result<void> XattrName(std::string_view name);
  Result<void> XattrValue(std::string_view base64);
  Result<void> EndXattr();
  // Checks the whole; `previous` is the name of the node before, empty for the first.
  Result<Node> Finish(std::string_view previous);

 private:
  Result<void> CheckType() const;
  Result<void> TakeLinkTarget();
  void SortXattrs();

  Node node_;
  uint32_t seen_ = 0;  // a bit per Member
  uint64_t mode_ = 0;
  std::string link_target_;
  std::string link_target_raw_;
  Xattrs xattrs_;
  std::pair<std::string, std::string> xattr_;
  size_t xattr_bytes_ = 0;
};

}  // namespace atl::repository
