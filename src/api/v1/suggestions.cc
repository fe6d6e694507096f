// SPDX-License-Identifier: Apache-2.0
#include "api/v1/suggestions.h"

#include <algorithm>
#include <array>
#include <utility>

namespace atl::api {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kSuggestions = {{
    {"SANDBOX_NOT_FOUND", "POST /create on the sandbox's host makes it."},
    {"INVALID_SANDBOX_ID", "Use 1 to 39 of a-z, 0-9 and single hyphens, as \"my-agent-2\"."},
    {"AGENT_TOO_OLD", "Stop the sandbox and start it again; its files stay."},
    {"CAPACITY_EXCEEDED",
     "Come again after Retry-After, or wait in the queue with \"wait\": true."},
    {"TOO_MANY_FILES", "Raise the daemon's limit of open files; it needs about 40 to create."},
    {"INTERPRETER_NOT_AVAILABLE",
     "Install what the message names in the sandbox (apt-get install python3-ipykernel for Python, "
     "nodejs for JavaScript, node-typescript for TypeScript), or create one from an image that has "
     "it: \"default\" as it is built now has the first two, \"notebook\" has all three (atoll "
     "image "
     "build notebook)."},
    {"CONTEXT_NOT_FOUND", "POST …/contexts makes one; they end when the sandbox stops."},
    {"NO_SPACE",
     "Delete files in the sandbox, or make one with a larger \"disk\" or \"inodes\" (GET …/usage "
     "has "
     "what it uses and may use). When it is the host that is full: delete sandboxes or snapshots, "
     "or "
     "give the state directory a larger disk."},
    {"UNKNOWN_HOST", "Use the configured domain, or <id> and a dot before it."},
    {"MEMORY_UNSUPPORTED",
     "`atoll setup --criu` builds what it needs; without it only files are kept."},
    {"FORK_MEMORY_FAILED", "Fork it without \"memory\": its files and conversations are copied."},
    {"BACKUP_NOT_FOUND", "GET /v1/snapshots lists those that exist."},
    {"SNAPSHOT_PINNED", "PATCH it with {\"pinned\": false} first."},
    {"BUCKETS_UNAVAILABLE", "Install s3fs on the daemon's host: apt-get install s3fs."},
    {"BUCKET_MOUNT_ERROR", "Check endpoint, region, bucket and credentials, and whether it is up."},
    {"INVALID_JSON", "Send one JSON object in UTF-8 with Content-Type: application/json."},
    {"SERVICE_NOT_RESPONDING", "Start a server inside that listens on 127.0.0.1 or 0.0.0.0."},
}};

}  // namespace

std::string_view SuggestionFor(std::string_view code) {
  const auto* found =
      std::ranges::find(kSuggestions, code, [](const auto& one) { return one.first; });
  return found == kSuggestions.end() ? std::string_view() : found->second;
}

}  // namespace atl::api
