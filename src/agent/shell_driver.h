// SPDX-License-Identifier: Apache-2.0
// What bash runs to be the shell of a session, and what it says meanwhile, a line each:
//   B key         it has been told of the command
//   R key status  the command has ended
//   E key         the command was not run: its directory cannot be entered
//   V key         nor this one: a variable of the request is read-only in the session
//   L key         the command has left a loop that it was not in, and ended there
//   S number      the state after the command is saved
// The key is new with every command, so whatever a command says in the shell's stead, or makes it
// say again, is of no command that comes. A shell that finds that it does not do what it is told
// exits: functions, options and traps of the user reach it, for it is the user's shell.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::agent {

// 64 random bits, as letters and digits.
Result<std::string> NewShellKey();

// The program. Its variables begin with `names`: a prefix that no command knows beforehand.
std::string ShellDriver(const std::string& names);

// What is done before a command with a directory or variables of its own, and collects how that is
// undone. Empty: nothing.
std::string BeforeScript(const std::string& names, const std::string& cwd,
                         const std::vector<std::pair<std::string, std::string>>& env);

}  // namespace atl::agent
