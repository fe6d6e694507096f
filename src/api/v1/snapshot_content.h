// SPDX-License-Identifier: Apache-2.0
// The bytes of snapshots: one file, or all of it as an archive.
#pragma once

#include <cstdint>
#include <string>

#include "api/seed/actions.h"
#include "http/server.h"
#include "repository/repository.h"
#include "snapshot/vault.h"

namespace atl::api {

struct FoundSnapshot {
  snapshot::Vault::Repo repository;
  repository::SnapshotRecord record;
};
// By id or prefix. Blocks.
Result<FoundSnapshot> FindSnapshot(const Services& services, const std::string& id);

// How long an URL of an archive may work at most, in seconds.
inline constexpr int64_t kMostValid = 7LL * 86400;

// ?path=: its content, all or the Range that is asked for.
async::Task<> SendFile(const Services& services, std::string id, http::Exchange& exchange);
// As .tar.zst. ?presign=1: puts the archive into the store and gives an URL to it, valid for
// ?valid= seconds (one hour).
async::Task<> SendArchive(const Services& services, std::string id, http::Exchange& exchange);

}  // namespace atl::api
