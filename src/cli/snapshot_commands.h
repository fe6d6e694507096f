// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "cli/verbs.h"

namespace atl::cli {

using Verb = std::function<Result<int>()>;

// snapshot, restore, stop, snapshots …, repo …
void AddSnapshotCommands(CLI::App& app, const Globals& globals, Verb& verb);

}  // namespace atl::cli
