// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace atl::daemon {

// Whether the host is shutting down, as systemd says; false where there is no systemd. Blocks for a
// moment.
bool HostIsGoingDown();

}  // namespace atl::daemon
