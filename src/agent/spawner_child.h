// SPDX-License-Identifier: Apache-2.0
// What runs in the spawner process, and what it says back.
#pragma once

#include <cstdint>

namespace atl::agent {

enum class SpawnStage : int32_t {
  kStarted = 0,
  kReceive,
  kClone,
  kDescriptors,
  kIds,
  kCwd,
  kExec,
  kTerminal,
};

struct SpawnReply {
  int32_t pid = -1;
  SpawnStage stage = SpawnStage::kStarted;
  int32_t error = 0;
};

// A request is a u32 length (host order) with three descriptors attached, then this many bytes:
// u8 self, u8 terminal, argv, env, cwd, u32 uid, u32 gid, groups in the form of
// protocol/wire.h.
inline constexpr uint32_t kMaxSpawnRequest = 1U << 20U;

// Serves requests from `socket` until it ends. `self_exe`: the agent's executable.
[[noreturn]] void RunSpawner(int socket, int self_exe);

}  // namespace atl::agent
