// SPDX-License-Identifier: Apache-2.0
// Fills a stage with what a plan puts in place: directories, then files, then links and the
// metadata of directories.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "snapshot/restore_pipeline.h"
#include "snapshot/restore_world.h"

namespace atl::snapshot {

class Stager {
 public:
  // `skeleton`: of directories only what is no regular file, and they stay private.
  Stager(RestoreWorld& world, Stage& stage, bool skeleton = false);

  // `node` with all below it, for `path`, as `staged`.
  Result<void> Add(const std::string& path, const std::string& staged,
                   const repository::Node& node);
  Result<void> Finish();

 private:
  Result<void> AddTree(const std::string& path, const std::string& staged,
                       const repository::Node& node, int depth);
  Result<void> AddFile(const std::string& path, const std::string& staged,
                       const repository::Node& node);
  Result<void> AddSpecial(const std::string& staged, const repository::Node& node);
  Result<void> RunFiles();
  Result<void> FinishWriter();
  Result<StageWriter*> Writer();
  Result<void> SetMeta(const std::string& path, const std::string& staged,
                       const repository::Id& tree, protocol::EntryMeta meta);

  RestoreWorld& world_;
  Stage& stage_;
  bool skeleton_;
  StagePipeline files_;
  std::unique_ptr<StageWriter> writer_;  // for all but files
  // The first name of a file with several, in the stage.
  std::map<LinkKey, std::string> linked_;
  struct Link {
    std::string staged;
    std::string to;
  };
  std::vector<Link> links_;
  struct Top {
    std::string path;
    std::string staged;
    repository::Id tree;
    protocol::EntryMeta meta;
  };
  std::vector<Top> tops_;
};

}  // namespace atl::snapshot
