// SPDX-License-Identifier: Apache-2.0
// Background processes by id: started, followed, started again when they end, stopped. They live in
// the agent, so they outlive the daemon. Those that have ended are kept, a bounded number of them.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include "agent/drain.h"
#include "agent/outbox.h"
#include "agent/processes.h"
#include "protocol/exec.h"

namespace atl::agent {

struct ManagedProcess;

class ProcessTable {
 public:
  // `log_dir` is made when the first process starts.
  ProcessTable(Processes* processes, std::string log_dir)
      : processes_(processes), log_dir_(std::move(log_dir)) {}

  // `log_goes_on`: where the one of its id has ended.
  Result<protocol::ProcessInfo> Start(const protocol::ProcessStart& request, bool log_goes_on);
  Result<protocol::ProcessInfo> Get(const std::string& id);
  // Sends all, then Ok.
  Result<void> List(Outbox* outbox);
  Result<void> Logs(const protocol::ProcessLogs& request, int socket, Outbox* outbox);
  Result<void> Signal(const protocol::ProcessSignal& request);
  Result<void> Stop(const protocol::ProcessStop& request);

 private:
  using Ptr = std::shared_ptr<ManagedProcess>;

  Result<Ptr> Find(const std::string& id);
  // Of those that have ended, what is too much.
  void ForgetOldest();
  // Makes the id free, and room for one more.
  Result<void> Reserve(const std::string& id, bool keep_log);
  void Erase(std::list<Ptr>::iterator at, bool keep_log);
  void Supervise(const Ptr& process);
  void Pump(ManagedProcess* process);
  bool GoesOn(ManagedProcess* process);
  bool StartAgain(ManagedProcess* process);

  Processes* processes_;
  std::string log_dir_;
  Drain drain_;
  std::mutex mutex_;
  std::list<Ptr> all_;  // oldest first
  std::unordered_map<std::string, std::list<Ptr>::iterator> by_id_;
  std::set<std::string> starting_;
};

}  // namespace atl::agent
