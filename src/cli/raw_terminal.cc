// SPDX-License-Identifier: Apache-2.0
#include "cli/raw_terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace atl::cli {

Result<RawTerminal> RawTerminal::Begin() {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) {
    return Fail(Code::kFailedPrecondition,
                "a shell needs a terminal; `atoll run` runs a command without one");
  }
  RawTerminal terminal;
  ASSIGN(terminal.keys_,
         sys::Open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  // Before the terminal is changed: from here on they come as something to read.
  sigset_t wanted;
  sigemptyset(&wanted);
  for (int signal : {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT}) sigaddset(&wanted, signal);
  if (::pthread_sigmask(SIG_BLOCK, &wanted, nullptr) != 0) return FailErrno(errno, "block signals");
  terminal.signals_ = sys::Fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!terminal.signals_) return FailErrno(errno, "wait for signals");
  if (::tcgetattr(STDIN_FILENO, &terminal.before_) != 0) {
    return FailErrno(errno, "look at the terminal");
  }
  termios raw = terminal.before_;
  ::cfmakeraw(&raw);
  if (::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) return FailErrno(errno, "set the terminal");
  terminal.changed_ = true;
  return terminal;
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : keys_(std::move(other.keys_)),
      signals_(std::move(other.signals_)),
      before_(other.before_),
      changed_(std::exchange(other.changed_, false)) {}

RawTerminal::~RawTerminal() {
  if (changed_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

ScreenSize RawTerminal::Size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {.cols = size.ws_col, .rows = size.ws_row};
}

}  // namespace atl::cli
