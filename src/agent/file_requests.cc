// SPDX-License-Identifier: Apache-2.0
#include "agent/file_requests.h"

#include <atomic>
#include <functional>

#include "agent/file_change.h"
#include "agent/file_content.h"
#include "agent/file_copy.h"
#include "agent/file_list.h"
#include "agent/file_user.h"
#include "agent/file_watch.h"
#include "agent/tar_files.h"
#include "agent/transfer_child.h"
#include "agent/tree_state.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

struct Caller {
  int socket;
  protocol::FrameParser* parser;
  Processes* processes;
};

using Body = std::function<Result<void>(ClientLink* link)>;

Result<void> RunHere(const Caller& caller, const Body& body) {
  std::atomic<bool> within_frame = false;
  ClientLink link(caller.socket, caller.parser, &within_frame);
  Result<void> done = body(&link);
  // Behind half a frame nothing can be said.
  return done || link.within_frame() ? Result<void>() : done;
}

Result<void> RunAs(const std::string& user, const Caller& caller, const Body& body) {
  return RunTransfer(caller.socket, caller.parser, caller.processes, WhenClientLeaves::kKill,
                     [&](ClientLink* link) -> Result<void> {
                       if (!user.empty()) {
                         ASSIGN(FileUser becomes, FindFileUser(user));
                         TRY(BecomeUser(becomes));
                       }
                       return body(link);
                     });
}

enum class Where { kHere, kChild };

template <class Request>
Result<void> Run(const protocol::Frame& frame, const Caller& caller, Where where,
                 Result<void> (*operation)(const Request&, ClientLink*)) {
  ASSIGN(auto request, protocol::Decode<Request>(frame.payload));
  Body body = [&](ClientLink* link) { return operation(request, link); };
  if (where == Where::kHere && request.user.empty()) return RunHere(caller, body);
  return RunAs(request.user, caller, body);
}

}  // namespace

bool IsFileRequest(FrameType type) {
  return (type >= FrameType::kStatFile && type <= FrameType::kReadTreeState) ||
         type == FrameType::kReadTreePart || type == FrameType::kWriteOwnedFile;
}

Result<void> DispatchFileRequest(const protocol::Frame& frame, int socket,
                                 protocol::FrameParser* parser, Processes* processes) {
  Caller caller{.socket = socket, .parser = parser, .processes = processes};
  switch (frame.type) {
    case FrameType::kStatFile:
      return Run(frame, caller, Where::kHere, RunStatFile);
    case FrameType::kReadFile:
      return Run(frame, caller, Where::kHere, RunReadFile);
    case FrameType::kWriteFile:
      return Run(frame, caller, Where::kHere, RunWriteFile);
    case FrameType::kWriteOwnedFile: {
      ASSIGN(auto owned, protocol::Decode<protocol::WriteOwnedFile>(frame.payload));
      return RunAs(owned.file.user, caller,
                   [&](ClientLink* link) { return RunWriteOwnedFile(owned, link); });
    }
    case FrameType::kMakeDir:
      return Run(frame, caller, Where::kHere, RunMakeDir);
    case FrameType::kMoveFile:
      return Run(frame, caller, Where::kChild, RunMoveFile);
    case FrameType::kCopyFile:
      return Run(frame, caller, Where::kChild, RunCopyFile);
    case FrameType::kRemoveFile:
      return Run(frame, caller, Where::kChild, RunRemoveFile);
    case FrameType::kSetFile:
      // It reads the sandbox's tables of users, which may keep whoever reads them waiting.
      return Run(frame, caller, Where::kChild, RunSetFile);
    case FrameType::kListFiles:
      return Run(frame, caller, Where::kChild, RunListFiles);
    case FrameType::kPackFiles:
      return Run(frame, caller, Where::kChild, RunPackFiles);
    case FrameType::kUnpackFiles:
      return Run(frame, caller, Where::kChild, RunUnpackFiles);
    case FrameType::kWatchFiles: {
      ASSIGN(WatchPlace place, WatchPlace::Take());
      return Run(frame, caller, Where::kChild, RunWatchFiles);
    }
    case FrameType::kReadTreeState:
      return Run(frame, caller, Where::kChild, RunReadTreeState);
    case FrameType::kReadTreePart: {
      ASSIGN(auto part, protocol::Decode<protocol::ReadTreePart>(frame.payload));
      return RunAs(part.tree.user, caller,
                   [&](ClientLink* link) { return RunReadTreePart(part, link); });
    }
    default:
      return Fail(Code::kInvalidArgument, "the first frame is not a request");
  }
}

}  // namespace atl::agent
