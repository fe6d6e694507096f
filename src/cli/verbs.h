// SPDX-License-Identifier: Apache-2.0
// The verbs of the command line, a file each. A verb returns the process's exit code; an Error is
// printed once by main and becomes exit code 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/config.h"
#include "json/writer.h"

namespace atl::cli {

struct Globals {
  std::string config_file;
  std::string url;  // of a running daemon; empty: the one that the configuration describes
  bool json = false;
};

struct CreateArguments {
  std::string id;
  bool no_opencode = false;
  std::string image;
  std::string memory;
  std::optional<double> cpus;
  std::optional<uint64_t> pids;
  std::vector<std::string> env;  // KEY=value
};

struct RunArguments {
  std::string id;
  std::vector<std::string> command;
  std::string cwd;
  std::vector<std::string> env;
  std::optional<uint64_t> timeout_ms;
};

Result<int> Create(const Globals& globals, const CreateArguments& arguments);
Result<int> List(const Globals& globals);
// The command's own exit code, and its output on stdout and stderr.
Result<int> Run(const Globals& globals, const RunArguments& arguments);
Result<int> Remove(const Globals& globals, const std::vector<std::string>& ids);
// 1 when something that is required is missing.
Result<int> Doctor(const Globals& globals);
// 1 when anything belongs to nothing.
Result<int> Leaks(const Globals& globals);
Result<int> ImageBuild(const Globals& globals, const std::string& name, std::string recipe,
                       bool replace);
Result<int> ImageList(const Globals& globals);
Result<int> ImageRemove(const Globals& globals, const std::string& name);
Result<int> Version(const Globals& globals);

// Writes the member "env" of a request's body from KEY=value arguments; nothing when there are
// none.
Result<void> AppendEnv(json::Writer& body, const std::vector<std::string>& pairs);

Result<daemon::Config> ConfigOf(const Globals& globals);

}  // namespace atl::cli
