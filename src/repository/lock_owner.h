// SPDX-License-Identifier: Apache-2.0
// Who this process is, as its locks say it, and which locks it holds.
#pragma once

#include "repository/id.h"
#include "repository/records.h"
#include "repository/tree.h"

namespace atl::repository {

Time Now();
const std::string& HostName();
const std::string& UserName();
// A lock of this process at this moment.
LockRecord OwnLock(bool exclusive);

// restic finds out whether the owner of a lock lives by sending it SIGHUP, which must not end it.
// Where nobody handles the signal, it is caught and does nothing; programs that are started find it
// as it was.
void SurviveHangup();

// The locks that this process holds, whatever the repository object.
void HoldLock(const Id& id);
void ForgetLock(const Id& id);
// True when the process of this host that made the lock is gone.
bool OwnerIsGone(const Id& id, const LockRecord& record);

}  // namespace atl::repository
