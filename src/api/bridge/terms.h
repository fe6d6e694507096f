// SPDX-License-Identifier: Apache-2.0
// What every route of the bridge has in common.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/v1/route.h"
#include "base/result.h"
#include "sandbox/registry.h"

namespace atl::api::bridge {

// Of a file or an archive that is sent in.
inline constexpr size_t kMostUpload = 32UL << 20U;
inline constexpr std::string_view kRoot = "/workspace";

// The codes that stand for what failed behind the bridge (502).
inline constexpr std::string_view kExecFailed = "exec_transport_error";
inline constexpr std::string_view kArchiveReadFailed = "workspace_archive_read_error";
inline constexpr std::string_view kArchiveWriteFailed = "workspace_archive_write_error";
inline constexpr std::string_view kMountFailed = "mount_error";
inline constexpr std::string_view kUnmountFailed = "unmount_error";
inline constexpr std::string_view kTunnelFailed = "tunnel_error";
inline constexpr std::string_view kReadNotFound = "workspace_read_not_found";

// What a failure is for clients of the bridge.
struct Failure {
  int status = 502;
  std::string_view code;
};
// `otherwise`: the code of what is nobody's request's fault.
Failure FailureOf(const Error& error, std::string_view otherwise);

// {"error","code"}
std::string FailureJson(std::string_view message, std::string_view code);
async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string_view otherwise);
// 405 with the methods that are allowed.
async::Task<> RefuseMethod(http::Exchange& exchange, std::string allow);
// {"ok":true}, or the failure.
async::Task<> RespondOk(http::Exchange& exchange, Result<void> done, std::string_view otherwise);

// The absolute path that is meant, which is /workspace or below it as it is written (403).
Result<std::string> WorkspacePath(std::string_view path);

// 1 to 128 letters, digits, '.', '_' and '-', without "..".
Result<void> CheckSessionId(std::string_view id);

}  // namespace atl::api::bridge
