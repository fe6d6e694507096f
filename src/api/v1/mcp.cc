// SPDX-License-Identifier: Apache-2.0
#include "api/v1/mcp.h"

#include "api/mcp/mcp.h"

namespace atl::api {
namespace {

async::Task<> Post(const Services& services, Values /*values*/, http::Exchange& exchange) {
  return mcp::Post(services, exchange);
}

async::Task<> Delete(const Services& /*services*/, Values /*values*/, http::Exchange& exchange) {
  return mcp::EndSession(exchange);
}

constexpr Field kQuery[] = {
    {.name = "sandbox", .about = "The tools work in this sandbox alone."},
};

constexpr Field kHeaders[] = {
    {.name = "Mcp-Session-Id", .about = "As the answer to initialize has it."},
    {.name = "MCP-Protocol-Version", .about = "2025-06-18"},
};
constexpr int kStatuses[] = {202};
constexpr Field kAnswerHeaders[] = {
    {.name = "Mcp-Session-Id", .about = "Of initialize: for the requests behind it."}};

constexpr Member kErrorMembers[] = {{"code", kInteger, {}}, {"message", kText, {}}};
constexpr Shape kError = ObjectOf("McpError", kErrorMembers);
constexpr Member kAnswerMembers[] = {{"jsonrpc", kText, "\"2.0\""},
                                     {"id", kAnything, "That of the request."},
                                     {"result?", kAnyObject, {}},
                                     {"error?", kError, "Instead."}};
constexpr Shape kAnswer = ObjectOf("McpAnswer", kAnswerMembers);
constexpr Member kFailureMembers[] = {{"jsonrpc", kText, "\"2.0\""},
                                      {"id", kAnything, "That of the request, or null."},
                                      {"error", kError, {}}};
constexpr Shape kFailure = ObjectOf("McpFailure", kFailureMembers);
constexpr ErrorStyle kErrors{.shape = &kFailure, .respond = mcp::Refuse};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/mcp",
     .operation = "callMcp",
     .summary = "One message of the Model Context Protocol, 2025-06-18.",
     .handler = Post,
     .returns = &kAnswer,
     .answer_headers = kAnswerHeaders,
     .body = Media::kJson,
     .query = kQuery,
     .headers = kHeaders,
     .statuses = kStatuses,
     .errors = &kErrors},
    {.method = "DELETE",
     .pattern = "/v1/mcp",
     .operation = "endMcpSession",
     .summary = "Ends a session.",
     .handler = Delete,
     .answer = Media::kNone,
     .errors = &kErrors},
};

}  // namespace

std::span<const Route> McpRoutes() { return kRoutes; }

}  // namespace atl::api
