// SPDX-License-Identifier: Apache-2.0
#include "agent/connection.h"

#include <poll.h>

#include "agent/configure.h"
#include "agent/dial.h"
#include "agent/file_requests.h"
#include "agent/listener.h"
#include "agent/listening.h"
#include "agent/process_requests.h"
#include "agent/read_files.h"
#include "agent/restore.h"
#include "agent/spawn_session.h"
#include "agent/stage_write.h"
#include "agent/terminal_session.h"
#include "agent/transfer_child.h"
#include "agent/walk.h"
#include "protocol/connection.h"
#include "protocol/ports.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

template <class M>
Result<void> Answer(Outbox* outbox, const M& message) {
  TRY(outbox->Put(message));
  return outbox->FlushAll();
}

Result<void> Dispatch(Agent* agent, int socket, const protocol::Frame& frame,
                      protocol::FrameParser* parser, Outbox* outbox) {
  switch (frame.type) {
    case FrameType::kSpawn: {
      ASSIGN(auto request, protocol::Decode<protocol::Spawn>(frame.payload));
      if (request.detached) return agent->detached->Start(request, outbox);
      return SpawnSession(socket, parser, agent->processes, outbox).Run(request);
    }
    case FrameType::kExec: {
      ASSIGN(auto request, protocol::Decode<protocol::Exec>(frame.payload));
      return SpawnSession(socket, parser, agent->processes, outbox).Run(request);
    }
    case FrameType::kProcessStart:
    case FrameType::kServiceStart:
    case FrameType::kProcessGet:
    case FrameType::kProcessList:
    case FrameType::kProcessLogs:
    case FrameType::kProcessSignal:
    case FrameType::kProcessStop:
      return RunProcessRequest(agent->table, frame, socket, outbox);
    case FrameType::kSessionOpen:
    case FrameType::kSessionUse:
    case FrameType::kSessionExec:
    case FrameType::kSessionClose:
    case FrameType::kSessionList:
      return RunSessionRequest(agent->sessions, frame, socket, outbox);
    case FrameType::kAttach: {
      ASSIGN(auto request, protocol::Decode<protocol::Attach>(frame.payload));
      return agent->detached->Attach(request, socket, outbox);
    }
    case FrameType::kList: {
      TRY(protocol::Decode<protocol::ListProcesses>(frame.payload));
      return Answer(outbox, agent->detached->List());
    }
    case FrameType::kSignal: {
      ASSIGN(auto request, protocol::Decode<protocol::Signal>(frame.payload));
      TRY(agent->detached->Signal(request));
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kDial: {
      ASSIGN(auto request, protocol::Decode<protocol::Dial>(frame.payload));
      return RunDial(request, agent->hello.dial_mode, socket, parser, outbox);
    }
    case FrameType::kDialPath: {
      ASSIGN(auto request, protocol::Decode<protocol::DialPath>(frame.payload));
      return RunDialPath(request, agent->hello.dial_mode, socket, parser, outbox);
    }
    case FrameType::kPing: {
      TRY(protocol::Decode<protocol::Ping>(frame.payload));
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kWalk: {
      agent->in_own_leaf.wait(false);
      ASSIGN(auto request, protocol::Decode<protocol::Walk>(frame.payload));
      return RunTransfer(socket, parser, agent->processes, WhenClientLeaves::kKill,
                         [&](ClientLink* link) { return RunWalk(request, link); });
    }
    case FrameType::kReadFiles: {
      agent->in_own_leaf.wait(false);
      ASSIGN(auto request, protocol::Decode<protocol::ReadFiles>(frame.payload));
      return RunTransfer(socket, parser, agent->processes, WhenClientLeaves::kKill,
                         [&](ClientLink* link) { return RunReadFiles(request, link); });
    }
    case FrameType::kRestore: {
      agent->in_own_leaf.wait(false);
      ASSIGN(auto request, protocol::Decode<protocol::Restore>(frame.payload));
      return RunRestore(request, socket, parser, agent->processes);
    }
    case FrameType::kStageWrite: {
      agent->in_own_leaf.wait(false);
      ASSIGN(auto request, protocol::Decode<protocol::StageWrite>(frame.payload));
      return RunTransfer(socket, parser, agent->processes, WhenClientLeaves::kKill,
                         [&](ClientLink* link) { return RunStageWrite(request, link); });
    }
    case FrameType::kConfigure: {
      ASSIGN(auto request, protocol::Decode<protocol::Configure>(frame.payload));
      TRY(RunConfigure(request));
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kListPorts: {
      TRY(protocol::Decode<protocol::ListPorts>(frame.payload));
      ASSIGN(protocol::Ports ports, ListeningPorts());
      return Answer(outbox, ports);
    }
    case FrameType::kPark: {
      TRY(protocol::Decode<protocol::Park>(frame.payload));
      agent->watches->EndAll();
      TRY(agent->listener->Park());
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kBecomeCopy: {
      TRY(protocol::Decode<protocol::BecomeCopy>(frame.payload));
      agent->watches->EndAll();
      TRY(agent->begin_anew());
      agent->in_own_leaf.wait(false);
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kOpenTerminal: {
      protocol::OpenUserTerminal request;
      ASSIGN(request.terminal, protocol::Decode<protocol::OpenTerminal>(frame.payload));
      ASSIGN(TerminalView view, agent->terminals->Open(request));
      return ShowTerminal(&view, socket, parser, outbox, false);
    }
    case FrameType::kOpenUserTerminal: {
      ASSIGN(auto request, protocol::Decode<protocol::OpenUserTerminal>(frame.payload));
      ASSIGN(TerminalView view, agent->terminals->Open(request));
      return ShowTerminal(&view, socket, parser, outbox, true);
    }
    case FrameType::kListTerminals: {
      TRY(protocol::Decode<protocol::ListTerminals>(frame.payload));
      return Answer(outbox, agent->terminals->List());
    }
    case FrameType::kCloseTerminal: {
      ASSIGN(auto request, protocol::Decode<protocol::CloseTerminal>(frame.payload));
      TRY(agent->terminals->Close(request.name));
      return Answer(outbox, protocol::Ok{});
    }
    case FrameType::kKeepWatch: {
      ASSIGN(auto request, protocol::Decode<protocol::KeepWatch>(frame.payload));
      return agent->watches->Run(request, socket, outbox);
    }
    default:
      if (frame.type == FrameType::kWatchFiles) agent->watches->MakeRoom();
      if (IsFileRequest(frame.type)) {
        return DispatchFileRequest(frame, socket, parser, agent->processes);
      }
      return Fail(Code::kInvalidArgument, "the first frame is not a request");
  }
}

// Waits for the request. Nothing when the client left without one.
Result<std::optional<protocol::Frame>> FirstFrame(int socket, protocol::FrameParser* parser) {
  while (true) {
    ASSIGN(auto frame, parser->Next());
    if (frame) return frame;
    pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
    poll(&ready, 1, -1);
    if (!ReceiveSome(socket, parser)) return std::nullopt;
  }
}

}  // namespace

Result<void> Greet(Agent* agent, int client) {
  protocol::Hello hello;
  {
    std::lock_guard guard(agent->hello_mutex);
    hello = agent->hello;
  }
  return protocol::Send(client, hello);
}

void ServeConnection(Agent* agent, sys::Fd client) {
  if (!Greet(agent, client.get())) return;
  protocol::FrameParser parser;
  Outbox outbox(client.get());
  auto first = FirstFrame(client.get(), &parser);
  Result<void> done;
  if (!first) {
    done = Unexpected(std::move(first).error());
  } else if (*first) {
    done = Dispatch(agent, client.get(), **first, &parser, &outbox);
  }
  // Behind data that is half sent nothing can be said; then the client is gone anyway.
  if (!done && outbox.empty()) (void)Answer(&outbox, protocol::ToFailure(done.error()));
}

}  // namespace atl::agent
