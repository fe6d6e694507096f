// SPDX-License-Identifier: Apache-2.0
// Buckets, of which there are none to mount.
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "metrics/atoll.h"
#include "sandbox/id.h"

namespace atl::api::bridge {
namespace {

constexpr size_t kMostMount = 64UL << 10U;

// What is wrong with the id or the body is said first, as where buckets can be mounted.
async::Task<Result<void>> Check(const std::string& id, http::Exchange& exchange) {
  CO_TRY(sandbox::ValidateId(id));
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMostMount));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  CO_ASSIGN(std::string path, body.Text("mountPath"));
  if (!path.starts_with('/')) {
    co_return Fail(Code::kInvalidArgument, "\"mountPath\" is an absolute path");
  }
  co_return Result<void>();
}

async::Task<> Refuse(const std::string& id, http::Exchange& exchange, std::string_view code) {
  Result<void> valid = co_await Check(id, exchange);
  if (!valid) {
    co_await RespondFailure(exchange, std::move(valid).error(), code);
    co_return;
  }
  metrics::CountError("NOT_IMPLEMENTED");
  http::ResponseHead head;
  head.status = 501;
  head.headers.Add("Content-Type", "application/json");
  Result<void> sent = co_await exchange.Respond(
      std::move(head),
      FailureJson("there are no buckets to mount here: keep files with persist and hydrate", code) +
          "\n");
  (void)sent;  // the client has gone away
}

}  // namespace

async::Task<> Mount(const Services& /*services*/, Values values, http::Exchange& exchange) {
  co_await Refuse(values.at(0), exchange, "mount_error");
}

async::Task<> Unmount(const Services& /*services*/, Values values, http::Exchange& exchange) {
  co_await Refuse(values.at(0), exchange, "unmount_error");
}

}  // namespace atl::api::bridge
