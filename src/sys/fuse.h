// SPDX-License-Identifier: Apache-2.0
// FUSE file systems that are made here and served by a program that may not mount anything.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

struct FuseFileSystem {
  Fd device;  // who reads it serves the file system; when all copies are closed, that is dead
  Fd mount;   // detached: AttachMount and friends give it a place
};

// Everybody may use it who is in this process's user namespace or one below, as far as the modes of
// files allow. No set-user-id, no devices.
Result<FuseFileSystem> MakeFuse(const std::string& source, uint32_t server_uid, bool read_only);

// Waits until the file system is served: its server has answered once. `give_up` is asked now and
// then; it or the passing of `limit` calls `end_server`, without which nobody would ever answer.
// kTimeout, kCancelled, or what the dead file system says (ENOTCONN). Blocking.
Result<void> AwaitServed(int mount, std::chrono::milliseconds limit,
                         const std::function<bool()>& give_up,
                         const std::function<void()>& end_server);

}  // namespace atl::sys
