// SPDX-License-Identifier: Apache-2.0
// In the place of src/protocol/version.cc: what an agent understood that was built when the
// protocol had its first version, and neither terminals nor ports.
#include "protocol/frame.h"
#include "protocol/messages.h"

namespace atl::protocol {

Versions Understood() { return {.oldest = 1, .newest = 1}; }

bool IsKnown(FrameType type) { return type < FrameType::kOpenTerminal; }

}  // namespace atl::protocol
