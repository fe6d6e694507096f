// SPDX-License-Identifier: Apache-2.0
// Shells that last between commands, by id. The commands of one run one after the other.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "agent/drain.h"
#include "agent/outbox.h"
#include "agent/processes.h"
#include "protocol/exec.h"

namespace atl::agent {

struct Session;

class SessionTable {
 public:
  explicit SessionTable(Processes* processes) : processes_(processes) {}

  Result<protocol::SessionInfo> Open(const protocol::SessionOpen& request, bool by_use);
  Result<void> Exec(const protocol::SessionExec& request, int socket, Outbox* outbox);
  Result<void> Close(const std::string& id);
  // Sends all, then Ok.
  Result<void> List(Outbox* outbox);

 private:
  // Out of the table, with its turn; nothing when every one is in use.
  struct Idle {
    std::shared_ptr<Session> session;
    std::unique_lock<std::mutex> turn;
  };
  // In which sessions something ran besides their leaders. Of those that are used after it began,
  // it says nothing.
  struct Look {
    std::chrono::steady_clock::time_point at;
    std::set<pid_t> sessions;
  };
  Idle TakeIdleLocked(const Look& look);
  // The id is taken, and there is room: for that, one that is idle may have to be closed.
  Result<Idle> Reserve(const std::string& id);
  Result<std::shared_ptr<Session>> Find(const std::string& id);

  Processes* processes_;
  Drain drain_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Session>> all_;  // null while one is opened
};

Result<void> RunSessionRequest(SessionTable* table, const protocol::Frame& frame, int socket,
                               Outbox* outbox);

}  // namespace atl::agent
