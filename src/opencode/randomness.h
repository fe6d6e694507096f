// SPDX-License-Identifier: Apache-2.0
// Copies of one OpenCode must not guess each other's ids and secrets. Its runtime (Bun) keeps
// random bytes in advance, 2048 of them behind a count of those that are used, and small wishes are
// served from there. In the images of a checkpoint they are found by what a copy drew from them,
// and are marked as used up, so that every copy draws anew. What they come from has to be seeded
// anew as well, which oci/checkpoint.h sees to.
#pragma once

#include <string>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/agent_client.h"

namespace atl::opencode {

// The random parts of the next two ids that the server gives. They are of sessions, which stay: for
// a sandbox that nobody will have.
async::Task<Result<std::vector<std::string>>> DrawIds(sandbox::AgentClient& agent);

// kNotFound when what was drawn is not found, or the place is not certain. Blocks.
Result<void> UseUpRandomness(const std::string& images, const std::vector<std::string>& drawn);

// The random part of an event that is told to nobody else, and leaves nothing behind.
async::Task<Result<std::string>> DrawEventId(sandbox::AgentClient& agent);
// The same for a checkpoint whose original goes on. It drew this: of some at least it is still
// known where it comes from.
Result<void> UseUpRandomnessDrawn(const std::string& images, const std::vector<std::string>& drawn);

}  // namespace atl::opencode
