// SPDX-License-Identifier: Apache-2.0
// A background process as the table keeps it.
#pragma once

#include <sys/eventfd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "agent/process_log.h"
#include "agent/spawn_session.h"
#include "protocol/exec.h"

namespace atl::agent {

// Before it is started again for the first time; twice as long each further time.
inline constexpr std::chrono::milliseconds kFirstPause{500};

inline uint64_t UnixMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

struct ManagedProcess {
  ManagedProcess(Program of, std::string by, std::string log_path, bool log_goes_on)
      : program(std::move(of)),
        mark(std::move(by)),
        stop_event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        log(std::move(log_path), log_goes_on) {}

  const Program program;
  const std::string mark;  // the variable that its descendants are known by

  std::mutex mutex;
  // Under the mutex:
  protocol::ProcessInfo info;
  sys::Fd stop_event;            // readable: it is to be started no more; empty once it has ended
  std::shared_ptr<Child> child;  // null once it has ended
  ProgramPipes pipes;            // of the child; the supervisor's alone
  ProcessLog log;
  bool stopping = false;
  bool ended = false;
  std::chrono::steady_clock::time_point started;
  std::chrono::milliseconds pause = kFirstPause;
  std::set<int> watchers;

  void WakeLocked() {
    for (int watcher : watchers) eventfd_write(watcher, 1);
  }
  void NoteStartLocked() {
    started = std::chrono::steady_clock::now();
    info.pid = child->pid();
    info.started_ms = UnixMs();
  }
  protocol::ProcessInfo InfoLocked() const {
    protocol::ProcessInfo now = info;
    now.log_begin = log.begin();
    now.log_end = log.end();
    return now;
  }
};

}  // namespace atl::agent
