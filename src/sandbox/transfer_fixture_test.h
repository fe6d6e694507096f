// SPDX-License-Identifier: Apache-2.0
// Snapshots of real sandboxes, in a repository on this host.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sandbox/registry.h"
#include "sandbox/test_world.h"

namespace atl::sandbox {

class TransferTest : public RegistryTest {
 protected:
  Result<SnapshotResult> Take(std::string id, std::string dir = "/workspace") {
    SnapshotRequest request;
    request.dir = std::move(dir);
    return world_->Wait(world_->registry().Snapshot(std::move(id), std::move(request)));
  }
  Result<RestoreOutcome> Put(std::string id, std::string snapshot_id) {
    RestoreRequest request;
    request.snapshot_id = std::move(snapshot_id);
    return world_->Wait(world_->registry().Restore(std::move(id), std::move(request)));
  }
  // Those of the repository, as a fresh look finds them.
  std::vector<repository::SnapshotRecord> Snapshots() {
    auto repository = world_->vault().GetFresh(std::chrono::milliseconds(0));
    if (!repository) return {};
    return (*repository)->Snapshots();
  }
  static std::string IdOf(const Result<SnapshotResult>& taken) {
    return taken ? taken->record.id().Hex() : taken.error().message;
  }
};

}  // namespace atl::sandbox
