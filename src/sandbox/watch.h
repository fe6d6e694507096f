// SPDX-License-Identifier: Apache-2.0
// What changes in a directory of a sandbox.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "protocol/watch.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

using protocol::FileEvent;
using protocol::FileEventKind;
using protocol::ReadTreeState;
using protocol::WatchFiles;

// "create", "modify", "delete", "move_from", "move_to", "attrib", "overflow"
std::string_view EventName(FileEventKind kind);

// Destroying it ends it.
class FileWatch {
 public:
  virtual ~FileWatch() = default;
  // The absolute path of what is watched, and of what an event is about.
  virtual const std::string& path() const = 0;
  virtual std::string PathOf(const FileEvent& event) const = 0;
  virtual uint64_t directories() const = 0;
  // Of the last event that Next gave; each has the next number.
  virtual uint64_t number() const { return 0; }
  // What has happened next. Nothing when nothing has within `limit`; an empty list when what was
  // watched is gone.
  virtual async::Task<Result<std::optional<std::vector<FileEvent>>>> Next(
      std::chrono::milliseconds limit) = 0;
};

// Everything that changes after this has returned is told. WATCH_LIMIT_REACHED, FILE_NOT_FOUND.
async::Task<Result<std::unique_ptr<FileWatch>>> Watch(AgentClient& agent, WatchFiles request);

// An event of a watch that goes on for a minute when nobody looks at it, with or without a daemon.
struct WatchMark {
  std::string id;
  uint64_t number = 0;  // 0: before the first
};
std::string MarkText(const WatchMark& mark);
std::optional<WatchMark> ParseMark(std::string_view text);

struct KeptFileWatch {
  std::unique_ptr<FileWatch> watch;
  std::string id;        // "": it ends with this, for the agent is of an earlier release
  bool resumed = false;  // it goes on behind the mark, with nothing left out
};
// As Watch, behind `mark` if there is one and what was watched is still remembered.
async::Task<Result<KeptFileWatch>> KeepWatch(AgentClient& agent, WatchFiles request,
                                             std::optional<WatchMark> mark);

// Whether something has changed since the caller last asked.
enum class ChangeStatus { kUnchanged, kChanged, kResync };
struct TreeVersion {
  ChangeStatus status = ChangeStatus::kResync;
  std::string version;  // for `since`, the next time
  uint64_t entries = 0;
};
// `since`: a version that was given for the same question, or "". One that is none of ours asks to
// look at everything again: kResync.
// `include`: globs of the files that count; empty: everything does.
async::Task<Result<TreeVersion>> CheckChanges(AgentClient& agent, ReadTreeState request,
                                              std::vector<std::string> include, std::string since);

}  // namespace atl::sandbox
