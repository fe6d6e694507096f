// SPDX-License-Identifier: Apache-2.0
// Files of a repository that are one sealed JSON object: indexes, snapshots, locks.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "blob/store.h"
#include "repository/id.h"
#include "repository/key.h"
#include "repository/names.h"

namespace atl::repository {

inline constexpr std::string_view kCorrupt = "REPOSITORY_CORRUPT";

struct SealedFile {
  Id id;
  std::string bytes;
};
SealedFile SealFile(const Key& key, std::string_view json);
// Seals and puts it; its name is the hash of what is stored.
Result<Id> PutUnpacked(blob::Store& store, const Key& key, FileType type, std::string_view json,
                       std::stop_token stop);
// The JSON. Whatever is wrong with the file is REPOSITORY_CORRUPT (kInternal) and names it; any
// other error is the store's.
Result<std::string> LoadUnpacked(blob::Store& store, const Key& key, FileType type, const Id& id,
                                 uint64_t limit, std::stop_token stop);
// "index/0123abcd…: message"
std::unexpected<Error> FailCorrupt(FileType type, const Id& id, std::string_view message);
bool IsCorrupt(const Error& error);

}  // namespace atl::repository
