// SPDX-License-Identifier: Apache-2.0
// What can be done with a sandbox, for whatever routes offer it. Every action reads its body, acts
// and answers, failures included.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "async/task.h"
#include "http/server.h"
#include "json/reader.h"
#include "json/writer.h"
#include "opencode/server.h"
#include "sandbox/ports.h"
#include "sandbox/registry.h"

namespace atl::api {

inline constexpr size_t kMaxBodyBytes = 32UL << 20U;
// The start of OpenCode has its own limit, which ends first and says more.
inline constexpr std::chrono::milliseconds kOpencodeLimit{200'000};

struct Services {
  sandbox::Registry& registry;
  opencode::Servers& servers;
  sandbox::Ports& ports;
  std::string domain;
  std::string openapi;  // the description of the routes that these serve, if there is one
};

// A sandbox to work with; what it took to wake or start it is said in the answer.
async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> AcquireFor(const Services& services,
                                                                  std::string id,
                                                                  http::Exchange& exchange);

async::Task<> Create(const Services& services, std::string id, http::Exchange& exchange);
// The same with a body that was read already.
async::Task<> CreateFrom(const Services& services, std::string id, json::Object body,
                         http::Exchange& exchange);
async::Task<> Run(const Services& services, std::string id, http::Exchange& exchange);
// With `Accept: text/event-stream` as events: {"type":"progress",…}, then "complete" or "error".
async::Task<> GitClone(const Services& services, std::string id, http::Exchange& exchange);
async::Task<> Delete(const Services& services, std::string id, http::Exchange& exchange);

// A sandbox that was made, and how long that took.
std::string CreatedJson(const Services& services, const sandbox::Registry::Created& created,
                        const http::RequestHead& request);

// The URL of a sandbox, at the port under which `request` has found the daemon.
std::string SandboxUrl(const Services& services, std::string_view id,
                       const http::RequestHead& request);
// "ready", "starting", "stopped" or "failed".
std::string_view OpencodeState(const Services& services, const sandbox::Info& info);

// 405 with the methods that are allowed: "GET, HEAD".
async::Task<> RespondMethodNotAllowed(http::Exchange& exchange, std::string allow);

}  // namespace atl::api
