// SPDX-License-Identifier: Apache-2.0
#include "agent/detached.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/spawn_session.h"
#include "agent/thread.h"
#include "agent/watch.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxDetached = 64;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kDefaultRing = 256U << 10U;
constexpr size_t kMaxRing = 4U << 20U;
constexpr size_t kPumpBytes = 64U << 10U;

void Wake(DetachedProcess* process) {
  for (int watcher : process->watchers) eventfd_write(watcher, 1);
}

// Moves the output into the ring until the process has exited and its pipe is at its end, or
// silent for kDrainMs (then a background child still holds it).
void Pump(DetachedProcess* process, Processes* processes, sys::Fd out) {
  auto buffer = std::make_unique_for_overwrite<char[]>(kPumpBytes);
  bool exited = false;
  while (!exited || out) {
    std::array<pollfd, 2> fds{{
        {.fd = out.get(), .events = POLLIN, .revents = 0},
        {.fd = exited ? -1 : process->child->exited_fd(), .events = POLLIN, .revents = 0},
    }};
    int ready = poll(fds.data(), fds.size(), exited ? kDrainMs : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) break;
    if (fds[1].revents != 0) exited = true;
    if (fds[0].revents == 0) continue;
    ssize_t count = read(out.get(), buffer.get(), kPumpBytes);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count <= 0) {
      out.Reset();
      continue;
    }
    std::lock_guard lock(process->mutex);
    process->ring.Append({buffer.get(), static_cast<size_t>(count)});
    Wake(process);
  }
  std::lock_guard lock(process->mutex);
  process->status = processes->Status(*process->child).value_or(protocol::Exited{});
  process->ended = true;
  Wake(process);
}

}  // namespace

Result<void> DetachedProcesses::Reserve(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto ended = [](const std::shared_ptr<DetachedProcess>& process) {
    std::lock_guard process_lock(process->mutex);
    return process->ended;
  };
  auto same = std::find_if(all_.begin(), all_.end(),
                           [&](const auto& process) { return process->name == name; });
  if (starting_.contains(name) || (same != all_.end() && !ended(*same))) {
    return Fail(Code::kAlreadyExists, "a process named " + name + " is running",
                "PROCESS_ALREADY_EXISTS");
  }
  if (same != all_.end()) all_.erase(same);
  if (all_.size() + starting_.size() >= kMaxDetached) {
    auto oldest = std::find_if(all_.begin(), all_.end(), ended);
    if (oldest == all_.end()) {
      return Fail(Code::kResourceExhausted, "too many detached processes are running",
                  "TOO_MANY_PROCESSES");
    }
    all_.erase(oldest);
  }
  starting_.insert(name);
  return {};
}

Result<void> DetachedProcesses::Start(const protocol::Spawn& request, Outbox* outbox) {
  if (request.name.empty() || request.name.size() > kMaxNameBytes) {
    return Fail(Code::kInvalidArgument, "a detached process needs a name of 1 to 64 characters");
  }
  if (request.want_stdin) {
    return Fail(Code::kInvalidArgument, "a detached process has no stdin");
  }
  ASSIGN(Program program, ToProgram(request));
  TRY(Reserve(request.name));
  size_t ring = request.ring_bytes == 0 ? kDefaultRing
                                        : std::clamp<size_t>(request.ring_bytes, 4096, kMaxRing);
  auto process = std::make_shared<DetachedProcess>(request.name, ring);
  ProgramPipes pipes;
  auto started = StartWithPipes(processes_, program, false, true, &pipes);
  {
    std::lock_guard lock(mutex_);
    starting_.erase(request.name);
    if (started) {
      process->child = *started;
      all_.push_back(process);
    }
  }
  if (!started) return Unexpected(std::move(started).error());
  Processes* processes = processes_;
  auto out = std::make_shared<sys::Fd>(std::move(pipes.out));
  auto pump = [process, processes, out] { Pump(process.get(), processes, std::move(*out)); };
  if (auto running = StartThread(pump); !running) {
    // Nobody would read its output or learn of its end.
    processes_->Kill(*process->child);
    std::lock_guard lock(process->mutex);
    process->ended = true;
    return running;
  }
  TRY(outbox->Put(protocol::Started{.pid = process->child->pid()}));
  return outbox->FlushAll();
}

Result<std::shared_ptr<DetachedProcess>> DetachedProcesses::Find(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (const auto& process : all_) {
    if (process->name == name) return process;
  }
  return Fail(Code::kNotFound, "there is no process named " + name, "PROCESS_NOT_FOUND");
}

Result<void> DetachedProcesses::Attach(const protocol::Attach& request, int socket,
                                       Outbox* outbox) {
  ASSIGN(auto process, Find(request.name));
  Watch watch(process.get());
  uint64_t offset = 0;
  {
    std::lock_guard lock(process->mutex);
    offset = std::clamp(request.offset, process->ring.begin(), process->ring.end());
  }
  TRY(outbox->Put(protocol::Attached{.pid = process->child->pid(), .offset = offset}));
  while (true) {
    if (!outbox->Flush()) return {};
    if (outbox->empty()) {
      std::string bytes;
      {
        std::lock_guard lock(process->mutex);
        // A client that was too slow goes on with what is left; List says what it missed.
        offset = std::max(offset, process->ring.begin());
        bytes = process->ring.Read(offset, kPumpBytes);
        if (bytes.empty() && process->ended) {
          TRY(outbox->Put(process->status));
          break;
        }
      }
      if (!bytes.empty()) {
        offset += bytes.size();
        TRY(outbox->PutFrame(protocol::EncodeFrame(protocol::FrameType::kStdout, bytes)));
        continue;
      }
    }
    auto events = static_cast<short>(POLLIN | (outbox->empty() ? 0 : POLLOUT));
    std::array<pollfd, 2> fds{{
        {.fd = socket, .events = events, .revents = 0},
        {.fd = outbox->empty() ? watch.fd() : -1, .events = POLLIN, .revents = 0},
    }};
    poll(fds.data(), fds.size(), -1);
    // The client has nothing more to say: input means that it is gone or confused.
    if ((fds[0].revents & ~POLLOUT) != 0) return {};
    eventfd_t count = 0;
    eventfd_read(watch.fd(), &count);
  }
  return outbox->FlushAll();
}

protocol::Processes DetachedProcesses::List() {
  protocol::Processes list;
  std::lock_guard lock(mutex_);
  for (const auto& process : all_) {
    std::lock_guard process_lock(process->mutex);
    list.processes.push_back({.name = process->name,
                              .pid = process->child->pid(),
                              .running = !process->ended,
                              .exited = process->status,
                              .output_begin = process->ring.begin(),
                              .output_end = process->ring.end()});
  }
  return list;
}

Result<void> DetachedProcesses::Signal(const protocol::Signal& request) {
  if (request.name.empty()) {
    return processes_->SignalPid(static_cast<pid_t>(request.pid), request.signo, request.group);
  }
  ASSIGN(auto process, Find(request.name));
  return processes_->Signal(*process->child, request.signo, request.group);
}

}  // namespace atl::agent
