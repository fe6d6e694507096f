// SPDX-License-Identifier: Apache-2.0
// What git's messages mean.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::sandbox {

// `operation`: "git push". Of what was said by git itself; what a server says decides nothing.
// `url` is the one that was sent: it is no part of a message's meaning, and its user and password
// are not repeated, nor those of any other.
Error RemoteGitError(std::string_view operation, std::string_view text, std::string_view url);
// The same of what needs no server. Names of files decide nothing.
Error LocalGitError(std::string_view operation, std::string_view text);

}  // namespace atl::sandbox
