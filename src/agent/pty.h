// SPDX-License-Identifier: Apache-2.0
// A pseudo-terminal of the sandbox's own instance of devpts.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

struct Pty {
  sys::Fd master;  // non-blocking
  sys::Fd slave;
};

// Owned by the user who is to work on it.
Result<Pty> OpenPty(uint32_t cols, uint32_t rows, uint32_t uid);

// The programs in the foreground get SIGWINCH when the size is another one.
Result<void> ResizePty(int master, uint32_t cols, uint32_t rows);

}  // namespace atl::agent
