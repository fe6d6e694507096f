// SPDX-License-Identifier: Apache-2.0
#include "agent/process_requests.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

template <class M>
Result<void> Answer(Outbox* outbox, const M& message) {
  TRY(outbox->Put(message));
  return outbox->FlushAll();
}

}  // namespace

Result<void> RunProcessRequest(ProcessTable* table, const protocol::Frame& frame, int socket,
                               Outbox* outbox) {
  switch (frame.type) {
    case FrameType::kProcessStart: {
      ASSIGN(auto request, protocol::Decode<protocol::ProcessStart>(frame.payload));
      ASSIGN(auto info, table->Start(request, false));
      return Answer(outbox, info);
    }
    case FrameType::kServiceStart: {
      ASSIGN(auto request, protocol::Decode<protocol::ServiceStart>(frame.payload));
      ASSIGN(auto info, table->Start(request.process, true));
      return Answer(outbox, info);
    }
    case FrameType::kProcessGet: {
      ASSIGN(auto request, protocol::Decode<protocol::ProcessGet>(frame.payload));
      ASSIGN(auto info, table->Get(request.id));
      return Answer(outbox, info);
    }
    case FrameType::kProcessList: {
      TRY(protocol::Decode<protocol::ProcessList>(frame.payload));
      return table->List(outbox);
    }
    case FrameType::kProcessLogs: {
      ASSIGN(auto request, protocol::Decode<protocol::ProcessLogs>(frame.payload));
      return table->Logs(request, socket, outbox);
    }
    case FrameType::kProcessSignal: {
      ASSIGN(auto request, protocol::Decode<protocol::ProcessSignal>(frame.payload));
      TRY(table->Signal(request));
      return Answer(outbox, protocol::Ok{});
    }
    default: {
      ASSIGN(auto request, protocol::Decode<protocol::ProcessStop>(frame.payload));
      TRY(table->Stop(request));
      return Answer(outbox, protocol::Ok{});
    }
  }
}

}  // namespace atl::agent
