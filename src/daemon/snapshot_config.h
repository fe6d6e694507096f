// SPDX-License-Identifier: Apache-2.0
// [snapshots]: where they are kept, how long, and when they are taken by themselves.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "blob/s3.h"
#include "daemon/config_source.h"
#include "snapshot/policy.h"

namespace atl::daemon {

struct SnapshotConfig {
  bool remote = false;
  std::string dir;  // when not remote; default: <state_dir>/snapshots
  blob::S3Options s3;
  std::string password;       // empty: the one in password_file
  std::string password_file;  // default: <state_dir>/snapshots.password; made when it is missing
  std::string cache_dir;      // default: <state_dir>/cache
  std::string known_file;     // <state_dir>/snapshots.stores
  uint64_t cache_bytes = 2ULL << 30U;
  snapshot::AutoPolicy automatic;
  snapshot::Retention retention;
  std::chrono::seconds prune_interval{86400};  // 0: never

  // How restic names the same store: RESTIC_REPOSITORY.
  std::string restic_repository() const;
};

Result<SnapshotConfig> ReadSnapshots(Source& source, const Environment& environment,
                                     const std::string& state_dir);

// The password: the configured one, or the file's. `make`: a file that is missing is made with a
// random password (0600).
Result<std::string> SnapshotPassword(const SnapshotConfig& config, bool make);

}  // namespace atl::daemon
