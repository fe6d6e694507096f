// SPDX-License-Identifier: Apache-2.0
// POST /v1/sandboxes/{id}/exec: one command, its output as JSON, as events or as bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/v1/route.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/exec.h"

namespace atl::api {

std::span<const Route> ExecRoutes();

// A week: what takes longer is a process.
inline constexpr int64_t kMaxExecMs = 7LL * 24 * 60 * 60 * 1000;

// What a request for a command may say; all but the last is for every answer.
inline constexpr Field kExecFields[] = {
    {.name = "command", .about = "A command line for bash."},
    {.name = "argv", .kind = Kind::kTextList, .about = "A program and its arguments, instead."},
    {.name = "stdin", .about = "What it reads; nothing when it is not there."},
    {.name = "stdinBase64", .about = "The same as bytes, in base64."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's; null is skipped."},
    {.name = "session", .about = "The id of a session: the command runs in its shell."},
    {.name = "cwd", .about = "/workspace when it is not there; in a session, where that is."},
    {.name = "user", .about = "name, uid, uid:gid or name:group; root when it is not there."},
    {.name = "timeoutMs",
     .kind = Kind::kInteger,
     .about = "Then SIGTERM to its group, 5 s later SIGKILL; exitCode is 124.",
     .min = 1,
     .max = static_cast<double>(kMaxExecMs)},
    {.name = "maxOutputBytes",
     .kind = Kind::kInteger,
     .about = "Of each stream; the rest is dropped. 10 MiB in JSON unless said, at most 64 MiB.",
     .min = 0},
    {.name = "killOnDisconnect",
     .kind = Kind::kBoolean,
     .about = "false: it goes on when the client leaves."},
    {.name = "encoding",
     .about = "\"utf-8\": text, or base64 where it is none; \"base64\": always that."},
};

// How the command runs, whatever becomes of its output. Checked.
Result<sandbox::ExecRequest> ParseExecRequest(const json::Object& body);
Result<std::optional<size_t>> ParseMaxOutput(const json::Object& body);

// The members that say what runs and how: "command" or "argv", "env", "cwd", "user".
struct ProgramFields {
  std::vector<std::string> argv;
  std::string command;
  json::StringMap env;
  std::optional<std::string> cwd;
  std::string user;
};
Result<ProgramFields> ParseProgram(const json::Object& body);
// Variables by their names, without those that are null.
Result<json::StringMap> ParseEnv(const json::Object& env);

// "SIGTERM", or "" for what is none.
std::string SignalName(int signal);
// By name, with or without SIG, or number. VALIDATION_FAILED.
Result<int> ParseSignal(const json::Object& body, std::string_view field);

}  // namespace atl::api
