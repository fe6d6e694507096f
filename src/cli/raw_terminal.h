// SPDX-License-Identifier: Apache-2.0
// The user's own terminal, given to a program elsewhere: keys are passed on as they are. What it
// was before, it is again when this ends, however it ends.
#pragma once

#include <termios.h>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::cli {

struct ScreenSize {
  int cols = 80;
  int rows = 24;
};

class RawTerminal {
 public:
  // Fails when stdin and stdout are no terminal.
  static Result<RawTerminal> Begin();
  ~RawTerminal();
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;

  // Keys, without waiting: another description of the terminal, so that stdin itself stays as it
  // is.
  sys::Fd TakeKeys() { return std::move(keys_); }
  // Gives the signals of a changed size (SIGWINCH) and of an end (SIGTERM, SIGHUP, SIGINT,
  // SIGQUIT).
  sys::Fd TakeSignals() { return std::move(signals_); }

  static ScreenSize Size();

 private:
  RawTerminal() = default;
  sys::Fd keys_;
  sys::Fd signals_;
  termios before_{};
  bool changed_ = false;
};

}  // namespace atl::cli
