// SPDX-License-Identifier: Apache-2.0
// A directory inside a sandbox as snapshots see it: the client of the agent's Walk, ReadFiles,
// Restore and StageWrite (protocol/tree.h). Everything blocks; what the agent says is hostile until
// checked. An agent that says nothing for `idle_limit` is kTimeout; `stop` gives kCancelled.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/tree.h"
#include "sys/fd.h"

namespace atl::snapshot {

// Files as the agent reads them, in the order of the requests.
class FileReader {
 public:
  virtual ~FileReader() = default;
  // Sends requests; at most a few thousand may be unanswered (the connection is read meanwhile, so
  // neither side waits for the other for ever).
  virtual Result<void> Request(std::span<const protocol::WantFile> files) = 0;
  // The next of FileBegin, FileBytes, FileHole, FileEnd; views are valid until the next call.
  // Checks that they come in an order that makes sense: offsets ascend without gaps or overlaps (a
  // hole counts), the total is at most 1 PiB.
  virtual Result<protocol::TreeRecord> Next() = 0;
};

// One connection that fills a stage. Errors of the agent come with the next call or with Finish.
class StageWriter {
 public:
  virtual ~StageWriter() = default;
  virtual Result<void> Dir(const protocol::StageDir& record) = 0;
  virtual Result<void> File(const protocol::StageFile& record) = 0;
  virtual Result<void> Bytes(uint32_t tag, uint64_t offset, std::string_view bytes) = 0;
  virtual Result<void> End(uint32_t tag) = 0;
  virtual Result<void> Special(const protocol::StageSpecial& record) = 0;
  virtual Result<void> Meta(const protocol::StageMeta& record) = 0;
  // Waits until everything that was sent is done.
  virtual Result<protocol::End> Finish() = 0;
};

// A restore that is under way. Destroying it before Commit leaves the directory as it was.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual uint64_t free_bytes() const = 0;
  virtual Result<std::unique_ptr<StageWriter>> OpenWriter() = 0;
  // The changes, in order. When it returns they are in the agent's journal.
  virtual Result<void> Prepare(std::span<const protocol::Change> changes) = 0;
  // Makes the changes; what was moved away is still to be removed.
  virtual Result<void> Commit() = 0;
  // Waits until what was moved away is removed.
  virtual Result<protocol::End> Finish() = 0;
};

class AgentTree {
 public:
  using Connect = std::function<Result<sys::Fd>()>;  // a connected socket to the agent
  explicit AgentTree(Connect connect,
                     std::chrono::milliseconds idle_limit = std::chrono::seconds(60))
      : connect_(std::move(connect)), idle_limit_(idle_limit) {}

  // Calls `on_record` for TreeEntry, LeaveDir and SkippedEntry. Checks the order of names and the
  // nesting; at most 512 levels and 20,000,000 entries.
  Result<protocol::WalkEnd> Walk(
      const protocol::Walk& request,
      const std::function<Result<void>(protocol::TreeRecord record)>& on_record,
      std::stop_token stop = {});
  Result<std::unique_ptr<FileReader>> OpenReader(const std::string& dir, std::stop_token stop = {});
  Result<std::unique_ptr<Stage>> BeginRestore(const std::string& dir, std::stop_token stop = {});

 private:
  Connect connect_;
  std::chrono::milliseconds idle_limit_;
};

}  // namespace atl::snapshot
