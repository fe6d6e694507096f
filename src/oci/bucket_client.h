// SPDX-License-Identifier: Apache-2.0
// Buckets of an S3 store as directories of a sandbox. s3fs serves each, in a container of its own
// on the host's side: it has the credential, and of the sandbox no more than the requests that the
// kernel passes on. The mount is made by the daemon and put into the sandbox's mount namespace.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "oci/disk_image.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"

namespace atl::oci {

inline constexpr int kMostBuckets = 8;  // of one sandbox

// All of it checked by who gives it (sandbox/buckets.h).
struct BucketMount {
  std::string iid;
  int slot = 0;  // below kMostBuckets
  uint32_t id_base = 0;
  std::string bucket;
  std::string prefix;    // without slashes at its ends; may be empty
  std::string endpoint;  // "https://host:port"
  std::string region;
  bool read_only = false;
  std::string access_key;
  std::string secret_key;

  std::string path;            // inside; a directory, reached through no symlink
  int sandbox_pidfd = -1;      // of PID 1
  bool must_be_empty = false;  // the directory
  // Where the store does not answer, the place gets a file system all the same, which is dead: a
  // program that finds an empty directory would believe that the bucket is.
  bool even_dead = false;
};

class BucketClients {
 public:
  struct Config {
    std::string run_dir;       // of all sandboxes: <run_dir>/sandboxes
    std::string spool_dir;     // for images of file systems, which have a name only at first
    std::string agent_binary;  // stands in for fusermount
    std::string seccomp_base64;
  };
  explicit BucketClients(Config config) : config_(std::move(config)) {}

  // BUCKETS_UNAVAILABLE: why not.
  static Result<void> Available();

  // Blocking, all of these. BUCKET_MOUNT_ERROR, RESOURCE_BUSY, INVALID_MOUNT_CONFIG. `give_up`: the
  // sandbox is not wanted any more.
  Result<void> Mount(const BucketMount& mount, const sys::Cgroup& cgroup,
                     std::chrono::milliseconds limit, const std::function<bool()>& give_up) const;
  // Takes it out of the sandbox, lets its client finish for a moment, and ends that. Idempotent.
  // Whether no program used it any more: those that did have errors from now on.
  Result<bool> Unmount(const std::string& iid, int slot, int pid, int pidfd) const;
  // Whether it is mounted and its client lives.
  bool Serves(const std::string& iid, int slot) const;
  // Ends all clients of a sandbox that does not run any more.
  void EndAll(const std::string& iid) const;

 private:
  std::string Dir(const std::string& iid, int slot) const;
  // A file system of bounded size at the client's `spool`, as long as anybody uses it: that of the
  // sandbox's other clients, or a new one. NO_SPACE.
  Result<sys::Mount> MakeSpool(const BucketMount& mount) const;
  Result<sys::Fd> SpoolOf(const std::string& iid, int slot) const;
  Result<DiskImageSpec> SpoolFor(const std::string& iid) const;
  Result<sys::Mount> Prepare(const BucketMount& mount) const;
  Result<void> End(const std::string& iid, int slot) const;

  Config config_;
};

}  // namespace atl::oci
