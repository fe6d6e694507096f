// SPDX-License-Identifier: Apache-2.0
// Text as one word of a shell, whatever it has in it. Everything is in the header: the agent links
// little of this room.
#pragma once

#include <string>
#include <string_view>

namespace atl {

inline std::string ShellQuoted(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'') {
      quoted += R"('\'')";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace atl
