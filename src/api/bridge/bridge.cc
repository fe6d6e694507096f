// SPDX-License-Identifier: Apache-2.0
#include "api/bridge/bridge.h"

#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/answers/common.h"

namespace atl::api {
namespace {

constexpr Field kExecFields[] = {
    {.name = "argv",
     .kind = Kind::kTextList,
     .about = "A program and its arguments.",
     .required = true},
    {.name = "timeout_ms",
     .kind = Kind::kInteger,
     .about = "Then it is ended; the exit code is 124.",
     .min = 1},
    {.name = "cwd", .about = "/workspace or below it."},
};
constexpr Field kSessionHeader[] = {
    {.name = "Session-Id", .about = "In whose shell, or as which terminal."}};
constexpr Field kCreateHeaders[] = {
    {.name = "Idempotency-Key", .about = "The same key gives the same id."}};
constexpr Field kPersistQuery[] = {
    {.name = "excludes", .kind = Kind::kPath, .about = "Paths in the workspace, by comma."},
};
constexpr Field kSessionFields[] = {
    {.name = "id", .about = "1 to 128 letters, digits, '.', '_' and '-'; or a new one."},
    {.name = "cwd", .about = "Where it begins; /workspace when it is not there."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's."},
    {.name = "commandTimeoutMs",
     .kind = Kind::kInteger,
     .about = "Of commands that have none of their own.",
     .min = 1},
};
constexpr Field kPtyQuery[] = {
    {.name = "cols", .kind = Kind::kInteger, .about = "80", .min = 1, .max = 1000},
    {.name = "rows", .kind = Kind::kInteger, .about = "24", .min = 1, .max = 1000},
    {.name = "shell", .about = "bash"},
    {.name = "session",
     .about = "A terminal of this name; without, one that ends with the client."},
};
constexpr Field kMountFields[] = {
    {.name = "bucket", .about = "Its name.", .required = true},
    {.name = "mountPath", .about = "Where it appears.", .required = true},
    {.name = "options",
     .kind = Kind::kObject,
     .about = "endpoint, region, provider, prefix, readOnly, credentials, secret."},
};
constexpr Field kUnmountFields[] = {
    {.name = "mountPath", .about = "Where it is mounted.", .required = true},
};
constexpr Field kTunnelFields[] = {{.name = "name", .about = "For people."}};

constexpr std::string_view kOne = "/v1/sandbox/{sandbox}";
constexpr std::string_view kFile = "/v1/sandbox/{sandbox}/file/{path...}";
constexpr std::string_view kTunnel = "/v1/sandbox/{sandbox}/tunnel/{port}";

async::Task<> Refuse(http::Exchange& exchange, Error error) {
  return bridge::RespondFailure(exchange, std::move(error), bridge::kExecFailed);
}

constexpr Member kErrorMembers[] = {
    {"error", kText, "What was tried, on what, and why it failed."},
    {"code", kText, "The reason."},
};
constexpr Shape kError = ObjectOf("BridgeError", kErrorMembers);
constexpr ErrorStyle kErrors{.shape = &kError,
                             .respond = Refuse,
                             .below = "/v1/sandbox",
                             .refuse_method = bridge::RefuseMethod};

constexpr Member kIdMembers[] = {{"id", kText, {}}};
constexpr Shape kId = ObjectOf("BridgeId", kIdMembers);
constexpr Member kRunningMembers[] = {{"running", kBoolean, {}}};
constexpr Shape kRunning = ObjectOf("BridgeRunning", kRunningMembers);
constexpr Member kClosedMembers[] = {{"success", kTrue, {}}, {"sessionId", kText, {}}};
constexpr Shape kClosed = ObjectOf("BridgeClosedSession", kClosedMembers);
constexpr Member kTunnelMembers[] = {
    {"id", kText, {}},       {"port", kInteger, {}},   {"url", kText, {}},
    {"hostname", kText, {}}, {"createdAt", kTime, {}}, {"name?", kText, {}},
};
constexpr Shape kTunnelShape = ObjectOf("BridgeTunnel", kTunnelMembers);

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandbox",
     .operation = "bridgeCreateSandbox",
     .summary = "Bridge: a new id. Its first use makes the sandbox.",
     .handler = bridge::Create,
     .returns = &kId,
     .headers = kCreateHeaders,
     .errors = &kErrors},
    {.method = "DELETE",
     .pattern = kOne,
     .operation = "bridgeDeleteSandbox",
     .summary = "Bridge: removes it, if it is there.",
     .handler = bridge::Delete,
     .answer = Media::kNone,
     .errors = &kErrors},
    {.method = "GET",
     .pattern = "/v1/sandbox/{sandbox}/running",
     .operation = "bridgeIsSandboxRunning",
     .summary = "Bridge: starts it if it does not run.",
     .handler = bridge::Running,
     .returns = &kRunning,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/exec",
     .operation = "bridgeExecCommand",
     .summary = "Bridge: runs a program; events stdout and stderr in base64, then exit or error.",
     .handler = bridge::Exec,
     .answer = Media::kEvents,
     .body = Media::kJson,
     .fields = kExecFields,
     .headers = kSessionHeader,
     .errors = &kErrors},
    {.method = "GET",
     .pattern = kFile,
     .operation = "bridgeReadFile",
     .summary = "Bridge: the content of a file below /workspace; the path begins at the root.",
     .handler = bridge::ReadFile,
     .answer = Media::kOctets,
     .errors = &kErrors},
    {.method = "PUT",
     .pattern = kFile,
     .operation = "bridgeWriteFile",
     .summary = "Bridge: makes or replaces a file of at most 32 MiB below /workspace.",
     .handler = bridge::WriteFile,
     .returns = &answers::kOk,
     .body = Media::kOctets,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/persist",
     .operation = "bridgePersistWorkspace",
     .summary = "Bridge: /workspace as a tar.",
     .handler = bridge::Persist,
     .answer = Media::kOctets,
     .query = kPersistQuery,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/hydrate",
     .operation = "bridgeHydrateWorkspace",
     .summary = "Bridge: unpacks a tar of at most 32 MiB into /workspace.",
     .handler = bridge::Hydrate,
     .returns = &answers::kOk,
     .body = Media::kOctets,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/session",
     .operation = "bridgeCreateSession",
     .summary = "Bridge: opens a shell that lasts between commands, which name it by Session-Id.",
     .handler = bridge::OpenSession,
     .returns = &kId,
     .body = Media::kJson,
     .fields = kSessionFields,
     .errors = &kErrors},
    {.method = "DELETE",
     .pattern = "/v1/sandbox/{sandbox}/session/{session}",
     .operation = "bridgeDeleteSession",
     .summary = "Bridge: ends it and what runs in it.",
     .handler = bridge::CloseSession,
     .returns = &kClosed,
     .errors = &kErrors},
    {.method = "GET",
     .pattern = "/v1/sandbox/{sandbox}/pty",
     .operation = "bridgePtyTerminal",
     .summary = "Bridge: a terminal.",
     .handler = bridge::Pty,
     .answer = Media::kWebSocket,
     .query = kPtyQuery,
     .headers = kSessionHeader,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = kTunnel,
     .operation = "bridgeCreateTunnel",
     .summary = "Bridge: the preview URL of a port.",
     .handler = bridge::OpenTunnel,
     .returns = &kTunnelShape,
     .body = Media::kJson,
     .fields = kTunnelFields,
     .errors = &kErrors},
    {.method = "DELETE",
     .pattern = kTunnel,
     .operation = "bridgeDeleteTunnel",
     .summary = "Bridge: takes the preview URL of a port back.",
     .handler = bridge::CloseTunnel,
     .answer = Media::kNone,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/mount",
     .operation = "bridgeMountBucket",
     .summary = "Bridge: makes a bucket of an S3 store a directory.",
     .handler = bridge::MountBucket,
     .returns = &answers::kOk,
     .body = Media::kJson,
     .fields = kMountFields,
     .errors = &kErrors},
    {.method = "POST",
     .pattern = "/v1/sandbox/{sandbox}/unmount",
     .operation = "bridgeUnmountBucket",
     .summary = "Bridge: takes it out again.",
     .handler = bridge::UnmountBucket,
     .returns = &answers::kOk,
     .body = Media::kJson,
     .fields = kUnmountFields,
     .errors = &kErrors},
};

}  // namespace

std::span<const Route> BridgeRoutes() { return kRoutes; }

}  // namespace atl::api
