// SPDX-License-Identifier: Apache-2.0
// The nodes of a tree one by one, whatever its size: small trees are shared with the repository's
// cache, large ones are decoded a little ahead.
#pragma once

#include <memory>
#include <stop_token>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

// Deeper directories are refused.
inline constexpr size_t kMaxBrowseDepth = 512;

class TreeCursor {
 public:
  virtual ~TreeCursor() = default;
  // Null at the end; valid until Pop.
  virtual Result<const repository::Node*> Peek() = 0;
  virtual void Pop() = 0;

  // When a tree is missing the index is brought up to date once: a prune may have moved it.
  static Result<std::unique_ptr<TreeCursor>> Open(repository::Repository& repository,
                                                  const repository::Id& tree, std::stop_token stop);
};

}  // namespace atl::snapshot
