// SPDX-License-Identifier: Apache-2.0
// The operations of the bridge; the first value is the id of the sandbox, which Decode leaves to
// them, so that what is wrong with it is said as the bridge says it.
#pragma once

#include "api/v1/route.h"

namespace atl::api::bridge {

// {"id"}; nothing is started. The same Idempotency-Key gives the same id.
async::Task<> Create(const Services& services, Values values, http::Exchange& exchange);
// 204, whether there was such a sandbox or not.
async::Task<> Delete(const Services& services, Values values, http::Exchange& exchange);
// {"running"}
async::Task<> Running(const Services& services, Values values, http::Exchange& exchange);

// {"argv","timeout_ms"?,"cwd"?}: events stdout and stderr in base64, then exit or error.
async::Task<> Exec(const Services& services, Values values, http::Exchange& exchange);

// A file below /workspace.
async::Task<> ReadFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> WriteFile(const Services& services, Values values, http::Exchange& exchange);

// /workspace as a tar without ?excludes=a,b, and back.
async::Task<> Persist(const Services& services, Values values, http::Exchange& exchange);
async::Task<> Hydrate(const Services& services, Values values, http::Exchange& exchange);

// {"id"?,"cwd"?,"env"?} -> {"id"}: a shell that lasts between commands, named by Session-Id.
async::Task<> OpenSession(const Services& services, Values values, http::Exchange& exchange);
async::Task<> CloseSession(const Services& services, Values values, http::Exchange& exchange);

// A terminal as a WebSocket.
async::Task<> Pty(const Services& services, Values values, http::Exchange& exchange);

// A port's preview URL.
async::Task<> OpenTunnel(const Services& services, Values values, http::Exchange& exchange);
async::Task<> CloseTunnel(const Services& services, Values values, http::Exchange& exchange);

// {"bucket","mountPath","options"?}, {"mountPath"} -> {"ok":true}
async::Task<> MountBucket(const Services& services, Values values, http::Exchange& exchange);
async::Task<> UnmountBucket(const Services& services, Values values, http::Exchange& exchange);

}  // namespace atl::api::bridge
