// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_state.h"

#include "http/message.h"
#include "sys/process.h"

namespace atl::daemon {

bool HostIsGoingDown() {
  sys::Command command{.argv = {"systemctl", "is-system-running"},
                       .timeout = std::chrono::milliseconds(3000)};
  auto finished = sys::Run(command);
  if (!finished) return false;
  std::string_view state = http::Trim(finished->out);
  while (state.ends_with('\n')) state.remove_suffix(1);
  return state == "stopping";
}

}  // namespace atl::daemon
