// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores of one sandbox, for whatever routes offer them.
#pragma once

#include <string>

#include "api/seed/actions.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/registry.h"

namespace atl::api {

// {"dir", "name"?, "freeze"?, "ttl"?, "tags"?, "exclude"?}
Result<sandbox::SnapshotRequest> ParseSnapshot(const json::Object& body);
// {"dir"?, "from"?, "mode"?: "replace" | "merge"}
Result<sandbox::RestoreRequest> ParseRestore(const json::Object& body, std::string snapshot_id);

async::Task<> Snapshot(const Services& services, std::string id, http::Exchange& exchange);
// Into sandbox `id`. `of_any_sandbox`: the snapshot may be another's.
async::Task<> Restore(const Services& services, std::string id, std::string snapshot_id,
                      bool of_any_sandbox, http::Exchange& exchange);
async::Task<> Stop(const Services& services, std::string id, http::Exchange& exchange);

// The member "snapshots" of a sandbox: its policy.
void WritePolicy(json::Writer& writer, const snapshot::AutoPolicy& policy);

}  // namespace atl::api
