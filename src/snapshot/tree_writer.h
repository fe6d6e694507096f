// SPDX-License-Identifier: Apache-2.0
// Nodes of one directory on their way into a tree blob.
#pragma once

#include <memory>
#include <vector>

#include "repository/repository.h"

namespace atl::snapshot {

// What the nodes that are held by all writers cost, and may.
struct NodeBudget {
  size_t held = 0;
};

// Holds the nodes of a usual directory, so that the repository can remember them; encodes and seals
// those of a huge one as they come.
class TreeWriter {
 public:
  TreeWriter(repository::Repository& repository, repository::Session& session, NodeBudget& budget);
  ~TreeWriter();
  TreeWriter(const TreeWriter&) = delete;
  TreeWriter& operator=(const TreeWriter&) = delete;

  Result<void> Add(repository::Node node);  // in order of names
  Result<repository::Id> Finish();

 private:
  struct Stream;
  Result<void> StartStream();

  repository::Repository& repository_;
  repository::Session& session_;
  NodeBudget& budget_;
  size_t held_ = 0;
  std::vector<repository::Node> nodes_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace atl::snapshot
