// SPDX-License-Identifier: Apache-2.0
#include "sandbox/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sandbox/file_request.h"
#include "sandbox/files.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr size_t kVersionDigits = 32;

async::Task<> NextInto(AgentConnection& connection,
                       std::optional<Result<protocol::Frame>>& result) {
  result = co_await connection.Next();
}

class AgentFileWatch : public FileWatch {
 public:
  AgentFileWatch(std::unique_ptr<AgentConnection> connection, std::string path,
                 protocol::Watching watching)
      : connection_(std::move(connection)), path_(std::move(path)), watching_(watching) {}

  const std::string& path() const override { return path_; }
  uint64_t directories() const override { return watching_.directories; }

  std::string PathOf(const FileEvent& event) const override {
    if (!watching_.directory || event.path.empty()) return path_;
    return path_.ends_with('/') ? path_ + event.path : path_ + "/" + event.path;
  }

  async::Task<Result<std::optional<std::vector<FileEvent>>>> Next(
      std::chrono::milliseconds limit) override {
    std::optional<Result<protocol::Frame>> frame;
    co_await async::WithTimeout(limit, NextInto(*connection_, frame));
    // A wait that was given up has taken nothing: what comes next is still whole.
    bool waited = !frame || (!*frame && frame->error().code == Code::kCancelled);
    if (waited) co_return std::nullopt;
    if (!*frame) co_return Unexpected(std::move(*frame).error());
    std::vector<FileEvent> events;
    if ((*frame)->type != FrameType::kFileEvents) {
      CO_TRY(ExpectFileReply<protocol::End>(**frame));
      co_return events;
    }
    protocol::Reader reader((*frame)->payload);
    while (reader.ok() && !reader.rest().empty()) reader(events.emplace_back());
    CO_TRY(reader.Finish());
    if (events.empty()) co_return std::nullopt;
    co_return events;
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  std::string path_;
  protocol::Watching watching_;
};

}  // namespace

std::string_view EventName(FileEventKind kind) {
  switch (kind) {
    case FileEventKind::kCreate:
      return "create";
    case FileEventKind::kModify:
      return "modify";
    case FileEventKind::kDelete:
      return "delete";
    case FileEventKind::kMoveFrom:
      return "move_from";
    case FileEventKind::kMoveTo:
      return "move_to";
    case FileEventKind::kAttrib:
      return "attrib";
    case FileEventKind::kOverflow:
      return "overflow";
  }
  return "overflow";
}

async::Task<Result<std::unique_ptr<FileWatch>>> Watch(AgentClient& agent, WatchFiles request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kFileLimit));
  CO_ASSIGN(auto watching, ExpectFileReply<protocol::Watching>(frame));
  co_return std::make_unique<AgentFileWatch>(std::move(connection), std::move(request.path),
                                             watching);
}

async::Task<Result<TreeVersion>> CheckChanges(AgentClient& agent, ReadTreeState request,
                                              std::string since) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  CO_ASSIGN(auto state,
            co_await AskForFile<protocol::TreeState>(agent.socket_path(), request, kTreeLimit));
  TreeVersion now{.version = fmt::format("{:016x}{:016x}", state.high, state.low),
                  .entries = state.entries};
  bool is_version = since.size() == kVersionDigits &&
                    since.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (since.empty() || (is_version && since != now.version)) {
    now.status = ChangeStatus::kChanged;
  } else if (is_version) {
    now.status = ChangeStatus::kUnchanged;
  }
  co_return now;
}

}  // namespace atl::sandbox
