// SPDX-License-Identifier: Apache-2.0
// The watches that outlast their clients, by id. Each is an ordinary watch (file_watch.h) whose
// client is the agent itself: one thread serves it, one takes what it tells.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "agent/outbox.h"
#include "agent/processes.h"
#include "protocol/watch.h"

namespace atl::agent {

class KeptWatch;

class KeptWatches {
 public:
  // `lifetime`: of one without a client.
  explicit KeptWatches(Processes* processes,
                       std::chrono::milliseconds lifetime = std::chrono::seconds(60))
      : processes_(processes), lifetime_(lifetime) {}

  // Serves a client until it leaves or nothing more comes.
  Result<void> Run(const protocol::KeepWatch& request, int socket, Outbox* outbox);
  // Of watches that nobody waits for the one left first ends, if there is no room for another.
  void MakeRoom();
  // Ends all of them, and waits for that.
  void EndAll();

 private:
  using WatchPtr = std::shared_ptr<KeptWatch>;

  Result<WatchPtr> Open(const protocol::KeepWatch& request, uint64_t* viewer);
  Result<void> Start(const WatchPtr& watch, const protocol::KeepWatch& request);
  void Feed(KeptWatch* watch, int socket) const;
  void Forget(const std::string& id);

  Processes* processes_;
  std::chrono::milliseconds lifetime_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::map<std::string, WatchPtr> all_;
};

}  // namespace atl::agent
