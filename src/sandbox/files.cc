// SPDX-License-Identifier: Apache-2.0
// Everything but content, which is in file_content.cc.
#include "sandbox/files.h"

#include <algorithm>
#include <utility>

#include "sandbox/file_request.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxListed = 64UL << 20U;

}  // namespace

Error FileRequestError(Error error) {
  if (error.message.starts_with("unknown frame type")) {
    return TooOld().error();
  }
  return error;
}

std::string_view KindName(FileKind kind) {
  switch (kind) {
    case FileKind::kFile:
      return "file";
    case FileKind::kDirectory:
      return "directory";
    case FileKind::kSymlink:
      return "symlink";
    case FileKind::kFifo:
      return "fifo";
    case FileKind::kSocket:
      return "socket";
    case FileKind::kDevice:
      return "device";
  }
  return "device";
}

int64_t ModifiedMs(const FileInfo& info) { return static_cast<int64_t>(info.mtime_ns) / 1'000'000; }

Result<std::string> AbsolutePath(std::string_view path) {
  if (path.empty()) return Fail(Code::kInvalidArgument, "the path is empty");
  if (path.find('\0') != std::string_view::npos) {
    return Fail(Code::kInvalidArgument, "the path has a NUL inside");
  }
  std::string absolute = path.starts_with('/') ? std::string() : "/workspace/";
  absolute += path;
  if (absolute.size() > kMaxPath) {
    return Fail(Code::kInvalidArgument, "the path is too long", "NAME_TOO_LONG");
  }
  return absolute;
}

async::Task<Result<FileInfo>> Stat(AgentClient& agent, StatFile request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  Result<FileInfo> info = co_await AskForFile<FileInfo>(agent.socket_path(), request);
  co_return info;
}

async::Task<Result<bool>> Exists(AgentClient& agent, StatFile request) {
  Result<FileInfo> info = co_await Stat(agent, std::move(request));
  if (info) co_return true;
  std::string_view reason = ReasonOf(info.error());
  if (reason == "FILE_NOT_FOUND" || reason == "NOT_DIRECTORY") co_return false;
  co_return Unexpected(std::move(info).error());
}

async::Task<Result<FileInfo>> Make(AgentClient& agent, MakeDir request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  Result<FileInfo> info = co_await AskForFile<FileInfo>(agent.socket_path(), request);
  co_return info;
}

async::Task<Result<FileInfo>> Move(AgentClient& agent, MoveFile request) {
  CO_ASSIGN(request.from, AbsolutePath(request.from));
  CO_ASSIGN(request.to, AbsolutePath(request.to));
  Result<FileInfo> info = co_await AskForFile<FileInfo>(agent.socket_path(), request, kTreeLimit);
  co_return info;
}

async::Task<Result<FileInfo>> Copy(AgentClient& agent, CopyFile request) {
  CO_ASSIGN(request.from, AbsolutePath(request.from));
  CO_ASSIGN(request.to, AbsolutePath(request.to));
  Result<FileInfo> info = co_await AskForFile<FileInfo>(agent.socket_path(), request, kTreeLimit);
  co_return info;
}

async::Task<Result<void>> Remove(AgentClient& agent, RemoveFile request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  CO_TRY(co_await AskForFile<protocol::Ok>(agent.socket_path(), request, kTreeLimit));
  co_return Result<void>();
}

async::Task<Result<FileInfo>> Set(AgentClient& agent, SetFile request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  Result<FileInfo> info = co_await AskForFile<FileInfo>(agent.socket_path(), request);
  co_return info;
}

async::Task<Result<Listing>> List(AgentClient& agent, ListFiles request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  request.limit = std::clamp(request.limit, 1U, kMostListed);
  Listing listing{.dir = request.path};
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  size_t bytes = 0;
  while (true) {
    CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kTreeLimit));
    if (frame.type != FrameType::kFileEntries) {
      CO_ASSIGN(auto end, ExpectFileReply<protocol::ListEnd>(frame));
      listing.more = end.more;
      listing.skipped = end.skipped;
      co_return listing;
    }
    bytes += frame.payload.size();
    protocol::Reader reader(frame.payload);
    while (reader.ok() && !reader.rest().empty()) {
      reader(listing.entries.emplace_back());
    }
    CO_TRY(reader.Finish());
    if (listing.entries.size() > request.limit || bytes > kMaxListed) {
      co_return Fail(Code::kInternal, "the agent lists more than it was asked for");
    }
  }
}

}  // namespace atl::sandbox
