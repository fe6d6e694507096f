// SPDX-License-Identifier: Apache-2.0
#include "daemon/open_vault.h"

#include "blob/files.h"
#include "blob/s3.h"

namespace atl::daemon {

Result<std::shared_ptr<blob::Store>> OpenStore(async::Runtime& runtime,
                                               const SnapshotConfig& config) {
  if (config.remote) return blob::OpenS3(runtime, config.s3);
  return blob::OpenFiles(config.dir);
}

repository::Options RepositoryOptions(const SnapshotConfig& config) {
  repository::Options options;
  options.cache_bytes = config.cache_bytes;
  // A store on this host is as near as its cache.
  if (config.remote) options.cache_dir = config.cache_dir;
  return options;
}

std::unique_ptr<snapshot::Vault> MakeVault(async::Runtime& runtime, const SnapshotConfig& config,
                                           bool make_password) {
  return std::make_unique<snapshot::Vault>(
      [&runtime, config] { return OpenStore(runtime, config); },
      [config, make_password] { return SnapshotPassword(config, make_password); },
      RepositoryOptions(config), config.known_file);
}

}  // namespace atl::daemon
