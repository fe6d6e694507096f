// SPDX-License-Identifier: Apache-2.0
// Makes the changes of a journal. Every change can be told from its traces: a staged entry that has
// left the stage is in place, what was removed lies in `old/` under the number of its change. So a
// process that is killed at any point is followed by one that goes through the journal again.
//
// That is about processes that are killed and not about power that is cut: of what is staged only
// the journal is waited for. syncfs() in an overlay writes out whatever the host's file system has
// in memory, of other sandboxes too, which takes longer than a small restore altogether. So "done"
// means done and not durable: a power cut within seconds of a restore may need it again.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "protocol/messages.h"

namespace atl::agent {

// A file that holds blocks for what moving entries itself may need on a full disk.
inline constexpr const char* kReserveName = "reserve";

// Decides: renames `.atoll-restore-<id>`, whose journal is complete.
Result<void> Decide(int root, const std::string& id);

// Makes the changes of `.atoll-ready-<id>` and renames it to `.atoll-old-<id>`, also when some
// could not be made: then RESTORE_INCOMPLETE, with the first of them. `End.files` counts changes,
// `End.skipped` what had vanished or could not be set. The caller holds the directory's lock.
Result<protocol::End> MakeChanges(int root, const std::string& id);

// Finishes every restore that was decided; removes nothing. The caller holds the lock.
Result<void> SettleRestores(int root);

}  // namespace atl::agent
