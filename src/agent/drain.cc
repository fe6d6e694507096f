// SPDX-License-Identifier: Apache-2.0
#include "agent/drain.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "agent/thread.h"

namespace atl::agent {
namespace {

constexpr size_t kMostPipes = 512;

// False at its end.
bool TakeSome(int pipe) {
  std::array<char, 16384> buffer{};
  ssize_t count = read(pipe, buffer.data(), buffer.size());
  return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace

void Drain::Add(sys::Fd pipe) {
  if (!pipe) return;
  std::lock_guard lock(mutex_);
  if (count_ >= kMostPipes) return;
  if (!event_) {
    event_ = sys::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event_ || !StartThread([this] { Run(); })) {
      event_.Reset();
      return;
    }
  }
  added_.push_back(std::move(pipe));
  ++count_;
  eventfd_write(event_.get(), 1);
}

void Drain::Run() {
  std::vector<sys::Fd> pipes;
  std::vector<pollfd> fds;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      for (sys::Fd& pipe : added_) pipes.push_back(std::move(pipe));
      added_.clear();
      count_ = pipes.size();
    }
    fds.assign(1, {.fd = event_.get(), .events = POLLIN, .revents = 0});
    for (const sys::Fd& pipe : pipes) {
      fds.push_back({.fd = pipe.get(), .events = POLLIN, .revents = 0});
    }
    poll(fds.data(), fds.size(), -1);
    eventfd_t told = 0;
    eventfd_read(event_.get(), &told);
    for (size_t i = 0; i < pipes.size(); ++i) {
      if (fds[i + 1].revents != 0 && !TakeSome(pipes[i].get())) pipes[i].Reset();
    }
    std::erase_if(pipes, [](const sys::Fd& pipe) { return !pipe; });
  }
}

}  // namespace atl::agent
