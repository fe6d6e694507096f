// SPDX-License-Identifier: Apache-2.0
// A sandbox's public id, which is also its host name and its DNS label.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::sandbox {

// `[a-z0-9]` and single hyphens, 1 to 39 characters, no `--`, no hyphen at the ends, not digits
// followed by a hyphen (`3000-demo` is a port of demo), not `www`, `api`, `sdk`.
// Fails with kInvalidArgument, INVALID_SANDBOX_ID, and a message that names the rule.
Result<void> ValidateId(std::string_view id);

// A new id for whoever wants none of their own: 26 of `a-z2-7`, which are 128 bits (RFC 4648
// base32). With a `key` the same key gives the same id.
std::string NewId(std::string_view key = {});

// kNotFound, SANDBOX_NOT_FOUND.
Error NoSuchSandbox(std::string_view id);

// 16 lowercase hex characters, random: names directories, cgroups and crun containers.
std::string NewInternalId();

}  // namespace atl::sandbox
