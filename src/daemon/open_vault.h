// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "async/runtime.h"
#include "base/result.h"
#include "blob/store.h"
#include "daemon/snapshot_config.h"
#include "snapshot/vault.h"

namespace atl::daemon {

// The store that [snapshots] names.
Result<std::shared_ptr<blob::Store>> OpenStore(async::Runtime& runtime,
                                               const SnapshotConfig& config);

// `make_password`: a password file that is missing is made.
std::unique_ptr<snapshot::Vault> MakeVault(async::Runtime& runtime, const SnapshotConfig& config,
                                           bool make_password);
repository::Options RepositoryOptions(const SnapshotConfig& config);

}  // namespace atl::daemon
