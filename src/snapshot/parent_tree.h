// SPDX-License-Identifier: Apache-2.0
// What the previous snapshot knows of a directory, and whether a file is still what it says.
#pragma once

#include <optional>
#include <stop_token>
#include <string_view>

#include "protocol/tree.h"
#include "repository/repository.h"

namespace atl::snapshot {

struct Parent {
  repository::SnapshotRecord record;
  std::optional<repository::Id> tree;  // of the directory; nothing: it cannot be found or read
};
// The newest snapshot of the same sandbox and directory.
Result<std::optional<Parent>> FindParent(repository::Repository& repository,
                                         const repository::Tags& tags, std::string_view dir,
                                         const std::stop_token& stop);
// A tree of the parent. Null when it cannot be read: then everything below counts as new.
Result<repository::Repository::Tree> LoadParentTree(repository::Repository& repository,
                                                    const repository::Id& tree,
                                                    const std::stop_token& stop);

// Content and subtree are left empty. Nothing, and `entry` as it was, for what a snapshot cannot
// hold.
std::optional<repository::Node> NodeOf(protocol::TreeEntry&& entry);

// A file that changed when it was looked at, or later, may have changed again within the same tick
// of the clock that stamps files: what was read of it is no knowledge.
bool IsSettled(const repository::Time& ctime, const repository::Time& looked_at);

}  // namespace atl::snapshot
