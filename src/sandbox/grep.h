// SPDX-License-Identifier: Apache-2.0
// Searching the content of files: ripgrep inside the sandbox where the image has it, else grep.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

inline constexpr uint32_t kMostMatches = 10'000;

struct GrepRequest {
  std::string pattern;
  std::string path = "/workspace";
  bool fixed = false;  // the pattern is text, not an expression
  bool ignore_case = false;
  bool words = false;
  bool hidden = true;                // files and directories that begin with a dot too
  bool ignored = true;               // those that .gitignore names too
  std::vector<std::string> include;  // globs of files
  std::vector<std::string> exclude;  // globs of files and directories
  uint32_t limit = 1000;
  std::chrono::milliseconds timeout{30'000};
  std::string user;  // as of ExecRequest
};

struct GrepMatch {
  std::string path;
  uint64_t line = 0;
  uint64_t column = 0;  // in bytes, from 1; 0: not known
  std::string text;     // the line, at most a few thousand bytes of it
};

struct GrepResult {
  std::vector<GrepMatch> matches;
  bool more = false;       // the limit or the time was reached
  bool timed_out = false;  // the time was
};

// VALIDATION_FAILED for an expression that is none, FILE_NOT_FOUND, COMMAND_NOT_FOUND.
async::Task<Result<GrepResult>> Grep(AgentClient& agent, GrepRequest request);

}  // namespace atl::sandbox
