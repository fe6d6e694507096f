// SPDX-License-Identifier: Apache-2.0
// The bodies of the actions, parsed and checked as far as that needs no sandbox.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "json/reader.h"
#include "sandbox/git_clone.h"
#include "sandbox/registry.h"
#include "sandbox/run.h"

namespace atl::api {

struct CreateRequest {
  sandbox::CreateOptions options;
  // Nothing: OpenCode starts and nobody waits for it; true: the answer waits; false: not yet.
  std::optional<bool> opencode;
};
// `defaults`: what is configured of automatic snapshots.
Result<CreateRequest> ParseCreate(const json::Object& body, const snapshot::AutoPolicy& defaults,
                                  const sandbox::SleepPolicy& sleep);

// The seconds of `Prefer: wait=N` (RFC 7240); what is none of that asks for nothing.
std::chrono::milliseconds PreferredWait(std::string_view prefer);

Result<sandbox::RunRequest> ParseRun(const json::Object& body);
Result<sandbox::CloneRequest> ParseClone(const json::Object& body);
// An object of variables, where null means that there is none.
Result<std::vector<std::pair<std::string, std::string>>> EnvWithoutNulls(const json::Object& body,
                                                                         std::string_view name);
// "username", "password", "sshKey"
Result<sandbox::GitCredentials> ParseCredentials(const json::Object& body);

}  // namespace atl::api
