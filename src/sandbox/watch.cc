// SPDX-License-Identifier: Apache-2.0
#include "sandbox/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "crypto/bytes.h"
#include "sandbox/file_request.h"
#include "sandbox/files.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr size_t kVersionDigits = 32;
constexpr size_t kMarkDigits = 32;
constexpr std::string_view kHexDigits = "0123456789abcdef";

async::Task<> NextInto(AgentConnection& connection,
                       std::optional<Result<protocol::Frame>>& result) {
  result = co_await connection.Next();
}

class AgentFileWatch : public FileWatch {
 public:
  AgentFileWatch(std::unique_ptr<AgentConnection> connection, std::string path,
                 protocol::Watching watching, FrameType events_type, uint64_t number = 0)
      : connection_(std::move(connection)),
        path_(std::move(path)),
        watching_(watching),
        events_type_(events_type),
        number_(number) {}

  const std::string& path() const override { return path_; }
  uint64_t directories() const override { return watching_.directories; }
  uint64_t number() const override { return number_; }

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
    if ((*frame)->type != events_type_) {
      CO_TRY(ExpectFileReply<protocol::End>(**frame));
      co_return events;
    }
    protocol::Reader reader((*frame)->payload);
    uint64_t first = events_type_ == FrameType::kKeptEvents ? reader.U64() : 1;
    while (reader.ok() && !reader.rest().empty()) reader(events.emplace_back());
    CO_TRY(reader.Finish());
    if (events.empty()) co_return std::nullopt;
    number_ = first + events.size() - 1;
    co_return events;
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  std::string path_;
  protocol::Watching watching_;
  FrameType events_type_;
  uint64_t number_;
};

async::Task<Result<std::unique_ptr<FileWatch>>> Join(AgentClient& agent,
                                                     protocol::KeepWatch request) {
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kFileLimit));
  CO_ASSIGN(auto kept, ExpectFileReply<protocol::WatchKept>(frame));
  co_return std::make_unique<AgentFileWatch>(std::move(connection), std::move(request.what.path),
                                             kept.watching, FrameType::kKeptEvents, request.after);
}

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
                                             watching, FrameType::kFileEvents);
}

std::string MarkText(const WatchMark& mark) { return fmt::format("{}.{}", mark.id, mark.number); }

std::optional<WatchMark> ParseMark(std::string_view text) {
  size_t dot = text.find('.');
  if (dot != kMarkDigits || text.substr(0, dot).find_first_not_of(kHexDigits) != text.npos) {
    return std::nullopt;
  }
  WatchMark mark{.id = std::string(text.substr(0, dot))};
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data() + dot + 1, end, mark.number);
  if (stop != end || error != std::errc()) return std::nullopt;
  return mark;
}

async::Task<Result<KeptFileWatch>> KeepWatch(AgentClient& agent, WatchFiles request,
                                             std::optional<WatchMark> mark) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  protocol::KeepWatch keep{.what = request};
  if (mark) {
    keep.id = mark->id;
    keep.resume = true;
    keep.after = mark->number;
    auto joined = co_await Join(agent, keep);
    if (joined) {
      co_return KeptFileWatch{.watch = *std::move(joined), .id = mark->id, .resumed = true};
    }
    std::string_view reason = ReasonOf(joined.error());
    if (reason != "WATCH_NOT_FOUND" && reason != "AGENT_TOO_OLD") {
      co_return Unexpected(std::move(joined).error());
    }
  }
  keep.id = crypto::RandomHex(kMarkDigits / 2);
  keep.resume = false;
  keep.after = 0;
  std::string id = keep.id;
  auto begun = co_await Join(agent, std::move(keep));
  if (!begun && ReasonOf(begun.error()) == "AGENT_TOO_OLD") {
    id.clear();
    begun = co_await Watch(agent, std::move(request));
  }
  CO_ASSIGN(auto watch, std::move(begun));
  co_return KeptFileWatch{.watch = std::move(watch), .id = std::move(id)};
}

async::Task<Result<TreeVersion>> CheckChanges(AgentClient& agent, ReadTreeState request,
                                              std::vector<std::string> include, std::string since) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  protocol::TreeState state;
  if (include.empty()) {
    CO_ASSIGN(state,
              co_await AskForFile<protocol::TreeState>(agent.socket_path(), request, kTreeLimit));
  } else {
    protocol::ReadTreePart part{.tree = std::move(request), .include = std::move(include)};
    CO_ASSIGN(state,
              co_await AskForFile<protocol::TreeState>(agent.socket_path(), part, kTreeLimit));
  }
  TreeVersion now{.version = fmt::format("{:016x}{:016x}", state.high, state.low),
                  .entries = state.entries};
  bool is_version =
      since.size() == kVersionDigits && since.find_first_not_of(kHexDigits) == std::string::npos;
  if (since.empty() || (is_version && since != now.version)) {
    now.status = ChangeStatus::kChanged;
  } else if (is_version) {
    now.status = ChangeStatus::kUnchanged;
  }
  co_return now;
}

}  // namespace atl::sandbox
