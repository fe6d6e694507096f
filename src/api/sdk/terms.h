// SPDX-License-Identifier: Apache-2.0
// What every route of the Sandbox SDK has in common: how a request is read, how it is answered, and
// how a failure is told so that the SDK's clients make the right class of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/seed/send_queue.h"
#include "api/v1/route.h"
#include "base/result.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/registry.h"

namespace atl::api::sdk {

// A week: what takes longer is a process.
inline constexpr int64_t kMostTimeoutMs = 7LL * 24 * 60 * 60 * 1000;
// Of a request that carries a file of 32 MiB: in base64 it has 43 MiB. Text that JSON escapes may
// have more, and is refused then.
inline constexpr size_t kMostUploadBody = 48UL << 20U;

struct Call {
  Call(const Services& with, Values of, http::Exchange& over, json::Object sent)
      : services(with),
        id(std::move(of.at(0))),
        values(std::make_move_iterator(of.begin() + 1), std::make_move_iterator(of.end())),
        exchange(over),
        body(std::move(sent)) {}

  // What an error is about: a member of its context.
  void About(std::string_view name, std::string_view value);

  const Services& services;
  std::string id;  // of the sandbox
  Values values;   // of the path
  http::Exchange& exchange;
  json::Object body;
  std::string context;  // members of an object, as JSON text without its braces
};

// The sandbox, which the first use makes.
async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> Use(Call& call);

// {"success":true, …, "timestamp"}: what `writer` has begun is ended.
json::Writer Success();
std::string Finished(json::Writer& writer);

// {"code","message","context","httpStatus","timestamp"}, with the codes and statuses of the SDK.
struct Failure {
  int status = 500;
  std::string_view code;
};
Failure FailureOf(const Error& error);
std::string FailureJson(const Error& error, std::string_view context);
async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string_view context = {});
async::Task<> RespondJson(Call& call, Result<std::string> json);

using JsonAnswer = async::Task<Result<std::string>> (*)(Call&);
using OwnAnswer = async::Task<> (*)(Call&);
async::Task<> AnswerJson(JsonAnswer answer, const Services& services, Values values,
                         http::Exchange& exchange);
// The same for a body of kMostUploadBody; a longer one is FILE_TOO_LARGE.
async::Task<> AnswerUpload(JsonAnswer answer, const Services& services, Values values,
                           http::Exchange& exchange);
async::Task<> AnswerItself(OwnAnswer answer, const Services& services, Values values,
                           http::Exchange& exchange);

// A text that is not empty.
Result<std::string> RequiredText(const json::Object& body, std::string_view name);
// Variables; those that are null are left out.
Result<std::vector<std::pair<std::string, std::string>>> EnvOf(const json::Object& body,
                                                               std::string_view name = "env");
Result<std::optional<std::chrono::milliseconds>> TimeoutOf(const json::Object& body,
                                                           std::string_view name);

// A stream of events that has begun; false when there is nobody to send it to.
async::Task<bool> BeginEvents(http::Exchange& exchange);
// Says meanwhile that the stream goes on: clients give up one that is silent for minutes.
async::Task<> UntilHangup(Call& call, SendQueue& queue);
std::string Now();

}  // namespace atl::api::sdk
