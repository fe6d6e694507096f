// SPDX-License-Identifier: Apache-2.0
// The writable layer of a sandbox: a directory, with a project quota where it has a limit and the
// file system can keep to one, else the inside of an image of that size.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"
#include "sys/mounts.h"

namespace atl::oci {

class DiskGuard;

struct LayerSpec {
  std::string iid;
  uint32_t id_base = 0;     // the project's number too
  uint64_t disk_bytes = 0;  // 0: no limit, here and below
  uint64_t inodes = 0;
};

// Where `upper` and `work` are, or are to be made. An image is mounted there as long as this lives;
// an overlay above it keeps it by itself.
class OpenLayer {
 public:
  explicit OpenLayer(std::string dir) : dir_(std::move(dir)) {}
  explicit OpenLayer(sys::Mount mount) : dir_(mount.target()), mount_(std::move(mount)) {}
  OpenLayer(OpenLayer&&) noexcept = default;
  OpenLayer& operator=(OpenLayer&&) = delete;
  OpenLayer(const OpenLayer&) = delete;
  OpenLayer& operator=(const OpenLayer&) = delete;
  ~OpenLayer() { Close(); }

  const std::string& dir() const { return dir_; }
  void Close();
  // As a process that is killed would leave it.
  void Release() { mount_.Release(); }

 private:
  std::string dir_;
  sys::Mount mount_;
};

struct LayerUsage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  bool complete = true;  // false: counting was cut short, it is at least that much
};

enum class DiskLimitKind { kQuota, kImage };

class Layers {
 public:
  Layers() = default;
  // `parent`: <state_dir>/sandboxes, which exists. Finds out whether it has project quotas.
  explicit Layers(std::string parent);

  DiskLimitKind kind() const { return quota_ ? DiskLimitKind::kQuota : DiskLimitKind::kImage; }
  // All that there is of it on disk.
  std::string Dir(const std::string& iid) const;
  // Told of every image that is mounted; null: nobody. It outlives this.
  void SetGuard(DiskGuard* guard) { guard_ = guard; }
  // Whether there is anything to start from.
  bool Exists(const std::string& iid) const;
  // Makes what is missing. DISK_LIMIT_UNSUPPORTED when the limit cannot be kept to.
  Result<OpenLayer> Open(const LayerSpec& spec) const;
  // The layer of a sandbox as it is: for who looks into it from outside.
  Result<OpenLayer> Show(const std::string& iid) const;
  // No mount of it is left here.
  Result<void> Hide(const std::string& iid) const;
  // The same, and no limit of it: it can be moved away.
  Result<void> Release(const std::string& iid) const;
  Result<void> Remove(const std::string& iid) const;
  // Whether Usage is a matter of one call.
  bool IsCheapToMeasure(const std::string& iid) const;
  // `pid`: its PID 1, which sees what is in an image; 0: it does not run. Directories without a
  // quota are walked through, `most_entries` at most.
  Result<LayerUsage> Usage(const std::string& iid, int pid, uint64_t most_entries) const;

 private:
  std::string Image(const std::string& iid) const;
  Result<OpenLayer> OpenImage(const LayerSpec& spec) const;

  std::string parent_;
  bool quota_ = false;
  DiskGuard* guard_ = nullptr;
};

}  // namespace atl::oci
