// SPDX-License-Identifier: Apache-2.0
#include "agent/terminal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "agent/spawn_session.h"
#include "agent/thread.h"
#include "agent/user.h"

namespace atl::agent {
namespace {

using std::chrono::milliseconds;

constexpr size_t kPumpBytes = 64U << 10U;
// How far the program may be ahead of the fastest viewer: the rest of the ring is for the others.
constexpr uint64_t kAhead = 128U << 10U;
// How long it waits for viewers that take nothing.
constexpr milliseconds kPatience{2'000};
// Between SIGHUP and SIGKILL.
constexpr milliseconds kHangUpGrace{2'000};
constexpr milliseconds kCloseLimit{10'000};
constexpr uint64_t kMostTimeoutMs = 1ULL << 40U;
constexpr int kLongestNap = 1'000;

protocol::Spawn ToSpawn(const protocol::OpenTerminal& request) {
  return {.argv = request.argv,
          .env = request.env,
          .cwd = request.cwd,
          .uid = request.uid,
          .gid = request.gid};
}

std::optional<std::chrono::steady_clock::time_point> DeadlineOf(uint64_t timeout_ms) {
  if (timeout_ms == 0) return std::nullopt;
  return std::chrono::steady_clock::now() + milliseconds(std::min(timeout_ms, kMostTimeoutMs));
}

}  // namespace

Terminal::Terminal(Processes* processes, const protocol::OpenUserTerminal& request)
    : processes_(processes),
      name_(request.terminal.name),
      command_(request.terminal.argv[0]),
      linger_(request.terminal.linger_ms),
      deadline_(DeadlineOf(request.timeout_ms)),
      cols_(request.terminal.cols),
      rows_(request.terminal.rows) {}

Result<std::shared_ptr<Terminal>> Terminal::Start(Processes* processes,
                                                  const protocol::OpenUserTerminal& request) {
  const protocol::OpenTerminal& screen = request.terminal;
  ASSIGN(Program program, ToProgram(ToSpawn(screen)));
  if (!request.user.empty()) TRY(SetUser(request.user, &program));
  program.terminal = true;
  std::shared_ptr<Terminal> terminal(new Terminal(processes, request));
  terminal->attention_ = sys::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!terminal->attention_) return FailErrno(errno, "make an eventfd");
  ASSIGN(terminal->pty_, OpenPty(screen.cols, screen.rows, program.uid));
  int slave = terminal->pty_.slave.get();
  ASSIGN(terminal->child_, processes->Start(program, {.in = slave, .out = slave, .err = slave}));
  terminal->pty_.slave.Reset();
  if (auto running = StartThread([terminal] { terminal->Pump(); }); !running) {
    processes->Kill(*terminal->child_);
    return Unexpected(std::move(running).error());
  }
  return terminal;
}

Result<void> Terminal::Resize(uint32_t cols, uint32_t rows) {
  std::lock_guard lock(mutex_);
  TRY(ResizePty(pty_.master.get(), cols, rows));
  cols_ = cols;
  rows_ = rows;
  return {};
}

void Terminal::Wake() const {
  for (const Viewer& viewer : viewers_) eventfd_write(viewer.more.get(), 1);
}

Result<Terminal::Viewer*> Terminal::Join(uint64_t offset) {
  sys::Fd more(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!more) return FailErrno(errno, "make an eventfd");
  std::lock_guard lock(mutex_);
  bool kept = offset >= ring_.begin() && offset <= ring_.end();
  viewers_.push_back({.offset = kept ? offset : ring_.begin(), .more = std::move(more)});
  eventfd_write(attention_.get(), 1);
  return &viewers_.back();
}

void Terminal::Leave(Viewer* viewer) {
  std::lock_guard lock(mutex_);
  viewers_.remove_if([viewer](const Viewer& one) { return &one == viewer; });
  if (viewers_.empty()) alone_since_ = Clock::now();
  eventfd_write(attention_.get(), 1);
  changed_.notify_all();
}

uint64_t Terminal::end() {
  std::lock_guard lock(mutex_);
  return ring_.end();
}

Terminal::Piece Terminal::Read(Viewer* viewer, size_t limit) {
  Piece piece;
  std::lock_guard lock(mutex_);
  if (viewer->offset < ring_.begin()) {
    piece.skipped = ring_.begin() - viewer->offset;
    viewer->offset = ring_.begin();
  }
  piece.bytes = ring_.Read(viewer->offset, limit);
  viewer->offset += piece.bytes.size();
  viewer->stalled = false;
  if (piece.bytes.empty() && ended_) {
    piece.exited = status_;
    piece.usage = usage_;
  }
  changed_.notify_all();
  return piece;
}

bool Terminal::ended() {
  std::lock_guard lock(mutex_);
  return ended_;
}

protocol::Terminal Terminal::Describe() {
  std::lock_guard lock(mutex_);
  auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - born_);
  return {.name = name_,
          .command = command_,
          .pid = child_->pid(),
          .running = !ended_,
          .exited = status_,
          .cols = cols_,
          .rows = rows_,
          .viewers = static_cast<uint32_t>(viewers_.size()),
          .age_ms = static_cast<uint64_t>(age.count())};
}

Result<void> Terminal::Close() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  eventfd_write(attention_.get(), 1);
  if (changed_.wait_for(lock, kCloseLimit, [this] { return ended_; })) return {};
  return Fail(Code::kTimeout, "the terminal's programs do not end", "TERMINAL_BUSY");
}

bool Terminal::ViewersAreBehind() const {
  bool anybody = false;
  for (const Viewer& viewer : viewers_) {
    if (viewer.stalled) continue;
    if (ring_.end() - viewer.offset <= kAhead) return false;
    anybody = true;
  }
  return anybody;
}

void Terminal::WaitForViewers() {
  std::unique_lock lock(mutex_);
  auto go_on = [this] { return closing_ || !ViewersAreBehind(); };
  if (changed_.wait_for(lock, kPatience, go_on)) return;
  for (Viewer& viewer : viewers_) {
    viewer.stalled = viewer.stalled || ring_.end() - viewer.offset > kAhead;
  }
}

int Terminal::HangUpWhenDue(bool exited) {
  auto now = Clock::now();
  std::optional<Clock::time_point> due;
  {
    std::lock_guard lock(mutex_);
    if (linger_.count() > 0 && alone_since_ && viewers_.empty()) {
      due = *alone_since_ + linger_;
      closing_ = closing_ || now >= *due;
    }
    if (deadline_) {
      due = std::min(due.value_or(*deadline_), *deadline_);
      usage_.timed_out = usage_.timed_out || (!closing_ && now >= *deadline_);
      closing_ = closing_ || usage_.timed_out;
    }
    if (closing_) {
      if (!kill_at_) {
        kill_at_ = now + kHangUpGrace;
        // Whatever has exited by now has no group to get it.
        (void)processes_->Signal(*child_, SIGHUP, true);
      }
      due = kill_at_;
    }
  }
  if (kill_at_ && now >= *kill_at_) {
    processes_->Kill(*child_);
    due = now + kHangUpGrace;
  }
  if (exited) return kDrainMs;
  if (!due) return -1;
  auto left = std::chrono::duration_cast<milliseconds>(*due - now).count();
  return static_cast<int>(std::max<long>(left, 0)) + 1;
}

void Terminal::Pump() {
  auto buffer = std::make_unique_for_overwrite<char[]>(kPumpBytes);
  bool exited = false;
  bool open = true;
  int nap = 0;  // milliseconds for which the terminal is not looked at
  while (!exited || open) {
    WaitForViewers();
    int timeout = HangUpWhenDue(exited);
    if (nap > 0 && (timeout < 0 || timeout > nap)) timeout = nap;
    std::array<pollfd, 3> fds{{
        {.fd = open && nap == 0 ? pty_.master.get() : -1, .events = POLLIN, .revents = 0},
        {.fd = exited ? -1 : child_->exited_fd(), .events = POLLIN, .revents = 0},
        {.fd = exited ? -1 : attention_.get(), .events = POLLIN, .revents = 0},
    }};
    int ready = poll(fds.data(), fds.size(), timeout);
    if (ready < 0 && errno == EINTR) continue;
    // Exited, and silent since: something in the background holds the terminal.
    if (ready == 0 && exited && nap == 0) break;
    int napped = std::exchange(nap, 0);
    eventfd_t count = 0;
    if (fds[2].revents != 0) eventfd_read(attention_.get(), &count);
    if (fds[1].revents != 0) exited = true;
    if (fds[0].revents == 0) continue;
    ssize_t size = read(pty_.master.get(), buffer.get(), kPumpBytes);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (size <= 0) {
      // EIO: nobody has it open. As long as the program runs it may open it again, as /dev/tty.
      if (exited) open = false;
      if (!exited) nap = std::clamp(napped * 2, 1, kLongestNap);
      continue;
    }
    std::lock_guard lock(mutex_);
    ring_.Append({buffer.get(), static_cast<size_t>(size)});
    Wake();
  }
  // What ended because it was told to takes along what is left of its session.
  bool told = false;
  {
    std::lock_guard lock(mutex_);
    told = closing_;
  }
  if (told) processes_->Kill(*child_);
  std::lock_guard lock(mutex_);
  status_ = processes_->Status(*child_).value_or(protocol::Exited{});
  protocol::Usage used = processes_->UsageOf(*child_);
  used.timed_out = usage_.timed_out;
  usage_ = used;
  ended_ = true;
  Wake();
  changed_.notify_all();
}

}  // namespace atl::agent
