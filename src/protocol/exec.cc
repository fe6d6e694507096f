// SPDX-License-Identifier: Apache-2.0
#include "protocol/exec.h"

namespace atl::protocol {

bool IsUnknownRequest(const Error& error) {
  return error.code == Code::kInvalidArgument && error.message.starts_with("unknown frame type");
}

}  // namespace atl::protocol
