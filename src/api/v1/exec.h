// SPDX-License-Identifier: Apache-2.0
// POST /v1/sandboxes/{id}/exec: one command, its output as JSON, as events or as bytes.
#pragma once

#include <span>

#include "api/v1/route.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/exec.h"

namespace atl::api {

std::span<const Route> ExecRoutes();

// The members that say what runs and how: "command" or "argv", "env", "cwd", "user".
struct ProgramFields {
  std::vector<std::string> argv;
  std::string command;
  json::StringMap env;
  std::optional<std::string> cwd;
  std::string user;
};
Result<ProgramFields> ParseProgram(const json::Object& body);

// "SIGTERM", or "" for what is none.
std::string SignalName(int signal);
// By name, with or without SIG, or number. VALIDATION_FAILED.
Result<int> ParseSignal(const json::Object& body, std::string_view field);

}  // namespace atl::api
