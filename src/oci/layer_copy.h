// SPDX-License-Identifier: Apache-2.0
// Copies the upper directory of an overlay to another sandbox's ids, while the sandbox that it
// belongs to goes on writing: a first pass beside running programs, then, while they stand still, a
// second one that copies no more than what has changed.
//
// The source is written by whoever is inside. Nothing of it is looked up by more than one name at a
// time, no symlink is followed, and depth and what is remembered have bounds.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::oci {

struct LayerCopySpec {
  std::string source;  // the `upper` of a layer
  std::string target;  // a directory, made if it is missing; nobody else writes there
  uint32_t source_base = 0;
  uint32_t target_base = 0;
  std::stop_token stop;
};

struct LayerCopyStats {
  uint64_t files = 0;   // of any kind, directories too
  uint64_t copied = 0;  // those whose content or attributes were written
  uint64_t bytes = 0;   // of content that was written or shared
  bool shared = false;  // content is shared with the source (reflinks)
};

class LayerCopy {
 public:
  static Result<LayerCopy> Open(LayerCopySpec spec);

  // Makes the target what the source is: everything the first time, later what differs from the
  // time before. `always`: paths relative to the source whose change does not show, since they are
  // mapped by programs. TOO_DEEP, FORK_CANCELLED.
  Result<LayerCopyStats> Pass(const std::set<std::string>& always = {});

 private:
  // What tells an unchanged entry; all zero: it is to be copied again.
  struct Mark {
    uint64_t ino = 0;
    int64_t ctime_ns = 0;
    uint64_t size = 0;
    uint32_t mode = 0;
    bool operator==(const Mark&) const = default;
  };
  struct Level;

  explicit LayerCopy(LayerCopySpec spec) : spec_(std::move(spec)) {}
  static Mark MarkOf(const struct stat& info);
  // `seen_ns`: a time before it was looked at.
  void Remember(const std::string& path, const struct stat& info, int64_t seen_ns);
  bool IsUnchanged(const std::string& path, const struct stat& info) const;
  uint32_t Shift(uint32_t id) const;

  Result<void> Directory(Level& level);
  Result<void> Children(Level& level, const struct stat& info);
  Result<void> Child(Level& level, const std::string& name);
  Result<void> Sub(Level& level, const std::string& name, const std::string& path);
  Result<void> Other(Level& level, const std::string& name, const std::string& path,
                     const struct stat& info, int64_t seen_ns);
  Result<bool> Linked(Level& level, const std::string& name, const std::string& path,
                      const struct stat& info);
  Result<void> File(Level& level, const std::string& name, const std::string& path);
  Result<void> Content(int from, int to, uint64_t size);
  Result<void> Extent(int from, int to, uint64_t begin, uint64_t end);
  // Owner, mode, attributes and times of what is open.
  Result<void> Attributes(int from, int to, const struct stat& info);
  Result<void> RemoveOthers(int target, const std::set<std::string>& keep);

  LayerCopySpec spec_;
  sys::Fd source_;
  sys::Fd target_;
  dev_t device_ = 0;
  bool can_share_ = true;
  bool first_ = true;
  const std::set<std::string>* always_ = nullptr;
  LayerCopyStats stats_;
  std::unordered_map<std::string, Mark> marks_;
  // Files with several names, in this pass: where the first of them is.
  std::unordered_map<uint64_t, std::string> links_;
};

}  // namespace atl::oci
