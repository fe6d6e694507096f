// SPDX-License-Identifier: Apache-2.0
#include "agent/process_table.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <vector>

#include "agent/descendants.h"
#include "agent/managed_process.h"
#include "agent/shell_driver.h"
#include "agent/spawn_session.h"
#include "agent/thread.h"
#include "agent/user.h"
#include "agent/watch.h"

namespace atl::agent {

using protocol::ProcessStatus;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr size_t kMaxRunning = 256;
constexpr size_t kMaxEnded = 1000;
constexpr size_t kMaxId = 64;
constexpr size_t kMaxDisplay = 1024;
constexpr size_t kPumpBytes = 64U << 10U;
constexpr milliseconds kLongestPause{30'000};
// One that ran for so long begins with the first pause again.
constexpr milliseconds kRanWell{10'000};
constexpr int kTickMs = 20;
constexpr uint32_t kMaxGraceMs = 60'000;
// What SIGKILL does not end within this time waits for a device.
constexpr milliseconds kKillGrace{10'000};

Result<void> CheckId(const std::string& id) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (!id.empty() && id.size() <= kMaxId && id[0] != '.' && std::ranges::all_of(id, fits))
    return {};
  return Fail(Code::kInvalidArgument,
              "the id of a process is 1 to 64 letters, digits, '.', '_' and '-'",
              "VALIDATION_FAILED");
}

Result<Program> ProgramOf(const protocol::ProcessStart& request) {
  ASSIGN(Program program,
         ToProgram(protocol::Exec{
             .argv = request.argv, .env = request.env, .cwd = request.cwd, .user = request.user}));
  return program;
}

}  // namespace

namespace {

bool HasEnded(ManagedProcess* process) {
  std::lock_guard lock(process->mutex);
  return process->ended;
}

}  // namespace

void ProcessTable::Erase(std::list<Ptr>::iterator at, bool keep_log) {
  by_id_.erase((*at)->info.id);
  if (!keep_log) {
    std::lock_guard lock((*at)->mutex);
    (*at)->log.Remove();
  }
  all_.erase(at);
}

void ProcessTable::ForgetOldest() {
  std::lock_guard lock(mutex_);
  auto ended = static_cast<size_t>(
      std::ranges::count_if(all_, [](const Ptr& process) { return HasEnded(process.get()); }));
  for (auto at = all_.begin(); ended > kMaxEnded && at != all_.end();) {
    auto next = std::next(at);
    if (HasEnded(at->get())) {
      Erase(at, false);
      --ended;
    }
    at = next;
  }
}

Result<void> ProcessTable::Reserve(const std::string& id, bool keep_log) {
  std::lock_guard lock(mutex_);
  auto same = by_id_.find(id);
  bool runs = same != by_id_.end() && !HasEnded(same->second->get());
  if (runs || starting_.contains(id)) {
    return Fail(Code::kAlreadyExists, "the process " + id + " is running",
                "PROCESS_ALREADY_EXISTS");
  }
  if (same != by_id_.end()) Erase(same->second, keep_log);
  auto ended = static_cast<size_t>(
      std::ranges::count_if(all_, [](const Ptr& process) { return HasEnded(process.get()); }));
  if (all_.size() - ended + starting_.size() >= kMaxRunning) {
    return Fail(Code::kResourceExhausted, "256 processes are running", "TOO_MANY_PROCESSES");
  }
  starting_.insert(id);
  return {};
}

Result<protocol::ProcessInfo> ProcessTable::Start(const protocol::ProcessStart& request,
                                                  bool log_goes_on) {
  TRY(CheckId(request.id));
  ASSIGN(Program program, ProgramOf(request));
  ASSIGN(std::string key, NewShellKey());
  std::erase_if(program.env, [](const auto& one) { return one.starts_with(kDescent); });
  std::string mark = std::string(kDescent) + request.id + "." + key;
  program.env.push_back(mark);
  TRY(Reserve(request.id, log_goes_on));
  mkdir("/var/log", 0755);
  mkdir(log_dir_.c_str(), 0755);
  auto process = std::make_shared<ManagedProcess>(
      std::move(program), std::move(mark), log_dir_ + "/" + request.id + ".log", log_goes_on);
  process->info = {.id = request.id,
                   .display = request.display.substr(0, kMaxDisplay),
                   .cwd = request.cwd,
                   .user = request.user,
                   .restart = request.restart};
  auto child = StartWithPipes(processes_, process->program, false, false, &process->pipes);
  std::lock_guard lock(mutex_);
  starting_.erase(request.id);
  if (!child) {
    if (!log_goes_on) process->log.Remove();
    return Unexpected(std::move(child).error());
  }
  process->child = *std::move(child);
  process->NoteStartLocked();
  if (auto supervised = StartThread([this, process] { Supervise(process); }); !supervised) {
    // Nobody would read its output or learn of its end.
    processes_->Kill(*process->child);
    if (!log_goes_on) process->log.Remove();
    return Unexpected(std::move(supervised).error());
  }
  all_.push_back(process);
  by_id_[request.id] = std::prev(all_.end());
  std::lock_guard process_lock(process->mutex);
  return process->InfoLocked();
}

// Moves the output into the log until the program has exited and its pipes are at their ends, or
// silent (then something in the background still holds them).
void ProcessTable::Pump(ManagedProcess* process) {
  auto buffer = std::make_unique_for_overwrite<char[]>(kPumpBytes);
  std::array<sys::Fd, 2> pipes{std::move(process->pipes.out), std::move(process->pipes.err)};
  bool exited = false;
  while (!exited || pipes[0] || pipes[1]) {
    std::array<pollfd, 3> fds{{
        {.fd = pipes[0].get(), .events = POLLIN, .revents = 0},
        {.fd = pipes[1].get(), .events = POLLIN, .revents = 0},
        {.fd = exited ? -1 : process->child->exited_fd(), .events = POLLIN, .revents = 0},
    }};
    int ready = poll(fds.data(), fds.size(), exited ? kDrainMs : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) break;
    if (fds[2].revents != 0) exited = true;
    for (size_t i = 0; i < pipes.size(); ++i) {
      if (fds[i].revents == 0) continue;
      ssize_t count = read(pipes[i].get(), buffer.get(), kPumpBytes);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (count <= 0) {
        pipes[i].Reset();
        continue;
      }
      std::lock_guard lock(process->mutex);
      process->log.Append(i == 1, {buffer.get(), static_cast<size_t>(count)}, UnixMs());
      process->WakeLocked();
    }
  }
  // What goes on in the background shall not end with its next word.
  for (sys::Fd& pipe : pipes) drain_.Add(std::move(pipe));
}

// It has ended. True when it is to be started again, after the pause that is due.
bool ProcessTable::GoesOn(ManagedProcess* process) {
  auto status = processes_->Status(*process->child).value_or(protocol::Exited{});
  protocol::Usage usage = processes_->UsageOf(*process->child);
  milliseconds pause{0};
  {
    std::lock_guard lock(process->mutex);
    process->info.exited = status;
    process->info.cpu_us = usage.cpu_us;
    process->info.max_rss_bytes = usage.max_rss_bytes;
    bool failed = status.signal != 0 || status.exit_code != 0;
    bool again = process->info.restart == protocol::Restart::kAlways ||
                 (process->info.restart == protocol::Restart::kOnFailure && failed);
    if (process->stopping || !again) {
      bool killed = status.signal != 0 || process->stopping;
      process->info.status = killed ? ProcessStatus::kKilled : ProcessStatus::kExited;
      return false;
    }
    if (Clock::now() - process->started > kRanWell) process->pause = kFirstPause;
    pause = process->pause;
    process->pause = std::min(process->pause * 2, kLongestPause);
  }
  pollfd stop{.fd = process->stop_event.get(), .events = POLLIN, .revents = 0};
  if (poll(&stop, 1, static_cast<int>(pause.count())) == 0) return true;
  std::lock_guard lock(process->mutex);
  process->info.status = ProcessStatus::kKilled;
  return false;
}

bool ProcessTable::StartAgain(ManagedProcess* process) {
  ProgramPipes pipes;
  auto child = StartWithPipes(processes_, process->program, false, false, &pipes);
  std::unique_lock lock(process->mutex);
  if (!child) {
    process->info.status = ProcessStatus::kError;
    process->info.error = child.error().message.substr(0, kMaxDisplay);
    return false;
  }
  process->child = *std::move(child);
  process->pipes = std::move(pipes);
  process->NoteStartLocked();
  ++process->info.restarts;
  // Whoever stops it may have looked at the former one.
  bool stopping = process->stopping;
  lock.unlock();
  if (stopping) processes_->Kill(*process->child);
  return true;
}

void ProcessTable::Supervise(const Ptr& process) {
  do {
    Pump(process.get());
  } while (GoesOn(process.get()) && StartAgain(process.get()));
  {
    std::lock_guard lock(process->mutex);
    process->info.ended_ms = UnixMs();
    process->log.Close();
    // Those that have ended are many: they hold no descriptors.
    process->stop_event.Reset();
    process->child.reset();
    process->ended = true;
    process->WakeLocked();
  }
  ForgetOldest();
}

Result<ProcessTable::Ptr> ProcessTable::Find(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (auto found = by_id_.find(id); found != by_id_.end()) return *found->second;
  return Fail(Code::kNotFound, "there is no process " + id.substr(0, kMaxId), "PROCESS_NOT_FOUND");
}

Result<protocol::ProcessInfo> ProcessTable::Get(const std::string& id) {
  ASSIGN(Ptr process, Find(id));
  std::lock_guard lock(process->mutex);
  return process->InfoLocked();
}

Result<void> ProcessTable::List(Outbox* outbox) {
  std::list<Ptr> all;
  {
    std::lock_guard lock(mutex_);
    all = all_;
  }
  for (const Ptr& process : all) {
    protocol::ProcessInfo info;
    {
      std::lock_guard lock(process->mutex);
      info = process->InfoLocked();
    }
    TRY(outbox->Put(info));
    TRY(outbox->FlushAll());
  }
  TRY(outbox->Put(protocol::Ok{}));
  return outbox->FlushAll();
}

Result<void> ProcessTable::Logs(const protocol::ProcessLogs& request, int socket, Outbox* outbox) {
  ASSIGN(Ptr process, Find(request.id));
  Watch watch(process.get());
  uint64_t offset = request.offset;
  uint64_t left = request.limit;
  while (true) {
    std::optional<protocol::LogChunk> chunk;
    {
      std::lock_guard lock(process->mutex);
      chunk = process->log.Read(offset, std::min<uint64_t>(left, protocol::kMaxLogChunk));
      if (!chunk && (process->ended || !request.follow)) {
        TRY(outbox->Put(process->InfoLocked()));
        break;
      }
    }
    if (chunk) {
      offset = chunk->offset + chunk->data.size();
      if (!request.follow) left -= chunk->data.size();
      TRY(outbox->Put(*chunk));
      TRY(outbox->FlushAll());
      continue;
    }
    std::array<pollfd, 2> fds{{
        {.fd = socket, .events = POLLIN, .revents = 0},
        {.fd = watch.fd(), .events = POLLIN, .revents = 0},
    }};
    poll(fds.data(), fds.size(), -1);
    // The client has nothing more to say: input means that it is gone or confused.
    if (fds[0].revents != 0) return {};
    watch.Clear();
  }
  return outbox->FlushAll();
}

Result<void> ProcessTable::Signal(const protocol::ProcessSignal& request) {
  ASSIGN(Ptr process, Find(request.id));
  std::shared_ptr<Child> child;
  {
    std::lock_guard lock(process->mutex);
    child = process->child;
  }
  if (!child) return Fail(Code::kNotFound, "the process has ended", "PROCESS_NOT_FOUND");
  return processes_->Signal(*child, request.signo, true);
}

Result<void> ProcessTable::Stop(const protocol::ProcessStop& request) {
  std::list<Ptr> targets;
  if (request.id.empty()) {
    std::lock_guard lock(mutex_);
    targets = all_;
  } else {
    ASSIGN(Ptr process, Find(request.id));
    targets.push_back(std::move(process));
  }
  std::list<std::shared_ptr<Child>> children;
  std::vector<std::string> descents;
  std::vector<pid_t> leaders;
  for (const Ptr& process : targets) {
    // What one has left running when it ended is known by that, too.
    descents.push_back(process->mark);
    std::lock_guard lock(process->mutex);
    if (process->ended) continue;
    leaders.push_back(process->child->pid());
    process->stopping = true;
    eventfd_write(process->stop_event.get(), 1);
    children.push_back(process->child);
    (void)processes_->Signal(*process->child, SIGTERM, true);  // it may just have ended
  }
  SignalDescendants(descents, leaders, SIGTERM);
  auto gone = [&] {
    return std::ranges::all_of(targets, [](const Ptr& p) { return HasEnded(p.get()); }) &&
           std::ranges::none_of(children,
                                [&](const auto& c) { return processes_->HasSession(*c); }) &&
           !SignalDescendants(descents, leaders, 0);
  };
  auto end = Clock::now() + milliseconds(std::min(request.grace_ms, kMaxGraceMs));
  while (!gone() && Clock::now() < end) poll(nullptr, 0, kTickMs);
  if (gone()) return {};
  for (const auto& child : children) processes_->Kill(*child);
  end = Clock::now() + kKillGrace;
  // What they have started meanwhile, too.
  while (!gone() && Clock::now() < end) {
    SignalDescendants(descents, leaders, SIGKILL);
    poll(nullptr, 0, kTickMs);
  }
  if (gone()) return {};
  return Fail(Code::kTimeout, "what SIGKILL does not end waits for a device", "PROCESS_ERROR");
}

}  // namespace atl::agent
