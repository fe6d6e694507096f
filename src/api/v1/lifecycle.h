// SPDX-License-Identifier: Apache-2.0
// Sleep, wake, changes and the events of a sandbox, below /v1/sandboxes/<id>.
#pragma once

#include <string>

#include "api/seed/actions.h"
#include "async/task.h"
#include "http/server.h"
#include "json/writer.h"

namespace atl::api {

// POST …/sleep {"force"?: bool}
async::Task<> Sleep(const Services& services, std::string id, http::Exchange& exchange);
// POST …/wake
async::Task<> Wake(const Services& services, std::string id, http::Exchange& exchange);
// PATCH …: "sleepAfter", "stopAfter", "keepAlive", "snapshots". The new state is read with GET.
async::Task<Result<sandbox::Info>> Change(const Services& services, std::string id,
                                          http::Exchange& exchange);
// GET …/events: a list, or, when text/event-stream is accepted or with `?follow=true`, a stream
// that goes on. `?after=` or Last-Event-ID: what came later than that.
async::Task<> Events(const Services& services, std::string id, http::Exchange& exchange);

// The members "sleepAfter", "stopAfter" and "keepAlive".
void WriteSleepPolicy(json::Writer& writer, const sandbox::SleepPolicy& policy);

}  // namespace atl::api
