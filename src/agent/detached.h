// SPDX-License-Identifier: Apache-2.0
// Processes that outlive the connection that started them. Each has a name and a ring of its
// output, which a client may read from any offset that is still there and then follow.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "agent/outbox.h"
#include "agent/processes.h"
#include "agent/ring.h"

namespace atl::agent {

class DetachedProcess {
 public:
  DetachedProcess(std::string name, size_t ring_bytes) : name(std::move(name)), ring(ring_bytes) {}

  const std::string name;
  std::shared_ptr<Child> child;  // set before anybody else sees this

  std::mutex mutex;
  // Under the mutex:
  Ring ring;
  bool ended = false;  // exited and the output is complete
  protocol::Exited status;
  std::set<int> watchers;  // eventfds of attached clients
};

class DetachedProcesses {
 public:
  explicit DetachedProcesses(Processes* processes) : processes_(processes) {}

  // Answers Started on `outbox`.
  Result<void> Start(const protocol::Spawn& request, Outbox* outbox);
  // Streams until the process has ended or the client is gone.
  Result<void> Attach(const protocol::Attach& request, int socket, Outbox* outbox);
  protocol::Processes List();
  Result<void> Signal(const protocol::Signal& request);

 private:
  Result<std::shared_ptr<DetachedProcess>> Find(const std::string& name);
  // Makes the name free, or says why it is not.
  Result<void> Reserve(const std::string& name);

  Processes* processes_;
  std::mutex mutex_;
  std::list<std::shared_ptr<DetachedProcess>> all_;  // oldest first
  std::set<std::string> starting_;
};

}  // namespace atl::agent
