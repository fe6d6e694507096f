// SPDX-License-Identifier: Apache-2.0
// One connection that reads files, in the order in which they are given out.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "protocol/tree.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/file_content.h"

namespace atl::snapshot {

struct WantedFile {
  std::string path;  // relative to the directory
  uint64_t size = 0;
  void* directory = nullptr;  // these two come back
  uint64_t slot = 0;
};
// Files that only make sense together are read one behind the other, and again when any of them
// changed meanwhile. The first is the one that the others belong to.
using FileGroup = std::vector<WantedFile>;

struct FileAnswer {
  WantedFile file;
  int sys_errno = 0;  // not 0: it could not be read
  bool changed = false;
  protocol::TreeEntry entry;  // as it was when it was opened
  uint64_t size = 0;          // bytes that were read
  std::vector<repository::Id> content;
};

class FileWorker {
 public:
  struct Hooks {
    // More groups; `wait`: until there are some, or never will be.
    std::function<std::optional<std::vector<FileGroup>>(bool wait)> next;
    std::function<void()> read;  // a group has been read for the last time
    std::function<void(FileAnswer answer)> answer;
    std::atomic<uint64_t>* bytes_read = nullptr;
  };
  FileWorker(Hooks hooks, ChunkPool& pool, ZeroChunk& zero,
             std::shared_ptr<const repository::ChunkerTables> tables)
      : hooks_(std::move(hooks)), cutter_(pool, zero, std::move(tables)) {}

  // Until there is no more.
  Result<void> Run(AgentTree& tree, const std::string& dir, const std::stop_token& stop);

 private:
  struct Member {
    FileAnswer answer;
    std::shared_ptr<FileContent> content;
  };
  // A group on its way. Behind the members of a group of several, the first is asked for once more:
  // only when it is still as it was do they belong together.
  struct Attempt {
    std::vector<Member> members;
    size_t at = 0;  // which is being read; past the last: the first once more
    int tries = 1;
    bool begun = false;
    bool discard = false;  // what comes of the current file is not wanted
    bool mixed = false;
    uint64_t declared = 0;
    bool verifies() const { return members.size() > 1; }
    size_t steps() const { return members.size() + (verifies() ? 1 : 0); }
  };

  Result<void> TopUp();
  Result<void> Request(std::unique_ptr<Attempt> attempt);
  Result<void> On(protocol::TreeRecord& record);
  Result<void> Begin(const protocol::FileBegin& begin);
  Result<void> End(const protocol::FileEnd& end);
  Result<void> Keep(Result<void> taken);
  Result<void> Settle();
  void Answer(Member& member);
  Result<void> CheckTag(uint32_t tag) const;

  Hooks hooks_;
  FileCutter cutter_;
  std::unique_ptr<FileReader> reader_;
  std::deque<std::unique_ptr<Attempt>> attempts_;
  std::vector<protocol::WantFile> wants_;
  uint64_t declared_ = 0;  // bytes that were asked for and have not come
  uint32_t asked_ = 0;     // tag of the next request
  uint32_t expected_ = 0;  // tag of the file that comes now
};

}  // namespace atl::snapshot
