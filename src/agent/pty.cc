// SPDX-License-Identifier: Apache-2.0
#include "agent/pty.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace atl::agent {
namespace {

constexpr uint32_t kMaxSide = 10'000;
constexpr gid_t kTtyGroup = 5;

// What is there belongs to the sandbox, so it may be anything: no link is followed, nothing waits,
// and what is no terminal fails at the next call. Beside a sandbox, in tests, the instance's own
// node may be closed to everybody.
Result<sys::Fd> OpenMaster() {
  constexpr int kFlags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
  auto master = sys::Open("/dev/pts/ptmx", kFlags);
  if (!master) master = sys::Open("/dev/ptmx", kFlags);
  return master;
}

}  // namespace

Result<Pty> OpenPty(uint32_t cols, uint32_t rows, uint32_t uid) {
  Pty pty;
  ASSIGN(pty.master, OpenMaster());
  int unlock = 0;
  if (ioctl(pty.master.get(), TIOCSPTLCK, &unlock) != 0) return FailErrno(errno, "make a terminal");
  // Not by its name, which a program inside might have put something else at.
  pty.slave = sys::Fd(ioctl(pty.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty.slave) return FailErrno(errno, "open the terminal");
  termios mode{};
  if (tcgetattr(pty.slave.get(), &mode) != 0) return FailErrno(errno, "look at the terminal");
  // One key erases a whole character, however many bytes that has.
  mode.c_iflag |= IUTF8;
  if (tcsetattr(pty.slave.get(), TCSANOW, &mode) != 0) return FailErrno(errno, "set the terminal");
  TRY(ResizePty(pty.master.get(), cols, rows));
  if (uid != 0 && fchown(pty.slave.get(), uid, kTtyGroup) != 0) {
    return FailErrno(errno, "give the terminal to its user");
  }
  return pty;
}

Result<void> ResizePty(int master, uint32_t cols, uint32_t rows) {
  if (cols == 0 || rows == 0 || cols > kMaxSide || rows > kMaxSide) {
    return Fail(Code::kInvalidArgument, "a terminal has 1 to 10000 columns and rows",
                "VALIDATION_FAILED");
  }
  winsize size{.ws_row = static_cast<unsigned short>(rows),
               .ws_col = static_cast<unsigned short>(cols),
               .ws_xpixel = 0,
               .ws_ypixel = 0};
  if (ioctl(master, TIOCSWINSZ, &size) != 0) return FailErrno(errno, "resize the terminal");
  return {};
}

}  // namespace atl::agent
