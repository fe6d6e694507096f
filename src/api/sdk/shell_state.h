// SPDX-License-Identifier: Apache-2.0
// Which shell a request means, and what is known of it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "json/reader.h"
#include "sandbox/exec.h"

namespace atl::api::sdk {

inline constexpr std::string_view kWorkspace = "/workspace";

// The session that "sessionId" names: "default" when it does not. Empty: the request wants none.
Result<std::string> SessionOf(const json::Object& body);

using Started = Result<std::unique_ptr<sandbox::Execution>>;

// Where a shell is, and what it exports.
struct ShellState {
  std::string cwd{kWorkspace};
  std::vector<std::pair<std::string, std::string>> env;
};
// Of a session, once what it runs has ended; the first use opens it. Without a session: /workspace.
async::Task<Result<ShellState>> StateOf(sandbox::AgentClient& agent, std::string session);

// Makes `request`, a command line, one that begins where the session is, with its variables,
// functions, aliases and options, as a subshell of it would: what it changes is its own.
async::Task<Result<void>> BeginBeside(sandbox::AgentClient& agent, std::string session,
                                      sandbox::ExecRequest& request);

// `path`, or where it is seen from the session when it is relative.
async::Task<Result<std::string>> PathFrom(sandbox::AgentClient& agent, std::string session,
                                          std::string path);
std::string Joined(std::string_view dir, std::string_view path);

}  // namespace atl::api::sdk
