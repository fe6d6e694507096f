// SPDX-License-Identifier: Apache-2.0
// Trees: one JSON object per directory, its entries sorted by the bytes of their names.
// https://restic.readthedocs.io/en/stable/100_references.html#trees-and-data
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "repository/id.h"

namespace atl::repository {

struct Time {
  int64_t seconds = 0;  // Unix time
  uint32_t nanos = 0;
  auto operator<=>(const Time&) const = default;
};
// RFC 3339 with nanoseconds as Go writes it, in UTC; years 0 to 9999.
std::string FormatTime(Time time);
Result<Time> ParseTime(std::string_view text);  // any offset

enum class NodeType : uint8_t { kFile, kDirectory, kSymlink, kFifo, kSocket, kDevice, kCharDevice };

using Xattrs = std::vector<std::pair<std::string, std::string>>;  // sorted by name

// Kept small: a directory may have a million of them.
struct Node {
  std::string name;
  std::vector<Id> content;  // kFile
  Id subtree;               // kDirectory
  Time mtime;
  Time ctime;
  uint64_t size = 0;
  uint64_t inode = 0;
  uint64_t device = 0;  // kDevice, kCharDevice: makedev
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  uint16_t permissions = 0;  // the low 12 bits of st_mode
  NodeType type = NodeType::kFile;
  struct Extra {
    std::string link_target;
    Xattrs xattrs;
    bool operator==(const Extra&) const = default;
  };
  std::unique_ptr<Extra> extra;  // null: neither

  std::string_view link_target() const;
  const Xattrs& xattrs() const;  // a shared empty one
  Node Clone() const;
};
// All members, ids of content and subtree included.
bool SameNode(const Node& a, const Node& b);

// Go's strconv.Quote without the quotes, and back: how restic stores names, which are bytes.
std::string QuoteName(std::string_view name);
Result<std::string> UnquoteName(std::string_view quoted);

// `{"nodes":[`, the nodes with commas between, `]}` and a newline, as restic writes it: the same
// nodes always give the same bytes. The access time is written as the modification time, as restic
// does by default; device_id is left out.
class TreeEncoder {
 public:
  using Sink = std::function<Result<void>(std::string_view piece)>;
  explicit TreeEncoder(Sink sink) : sink_(std::move(sink)) {}
  Result<void> Add(const Node& node);  // in order of names
  Result<void> Finish();

 private:
  Sink sink_;
  std::string buffer_;
  std::string last_name_;
  bool first_ = true;
};

// Reads a tree that comes in pieces and gives its nodes. Checks: names sorted, different, without
// '/' and NUL, not empty, "." or ".."; types known; sizes of everything bounded. Unknown members
// are ignored. REPOSITORY_CORRUPT (kInternal) otherwise.
class TreeDecoder {
 public:
  using OnNode = std::function<Result<void>(Node node)>;
  explicit TreeDecoder(OnNode on_node);
  ~TreeDecoder();
  TreeDecoder(const TreeDecoder&) = delete;
  TreeDecoder& operator=(const TreeDecoder&) = delete;
  Result<void> Feed(std::string_view piece);
  Result<void> Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
Result<std::vector<Node>> DecodeTree(std::string_view json);

}  // namespace atl::repository
