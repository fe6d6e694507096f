// SPDX-License-Identifier: Apache-2.0
#include "api/seed/fork.h"

#include <utility>

#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

std::string ForkedJson(const Services& services, const sandbox::Registry::Forked& forked,
                       const http::RequestHead& request) {
  json::Writer writer;
  writer.BeginObject().Key("sandboxes").BeginArray();
  for (const sandbox::Registry::Created& created : forked.made) {
    writer.Raw(CreatedJson(services, created, request));
  }
  writer.EndArray();
  writer.Field("files", forked.facts.files).Field("bytes", forked.facts.bytes);
  writer.Field("shared", forked.facts.shared).Field("frozen", forked.facts.frozen);
  writer.Field("memory", forked.facts.memory);
  writer.Field("copyMs", forked.facts.copy_ms).Field("freezeMs", forked.facts.freeze_ms);
  writer.EndObject();
  return writer.Take();
}

async::Task<Result<std::string>> DoFork(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  CO_ASSIGN(ForkBody fork, ParseFork(body));
  CO_ASSIGN(sandbox::Registry::Forked forked,
            co_await services.registry.Fork(std::move(id), std::move(fork.request)));
  forked.waited.SayIn(exchange);
  // All begin, then the answer waits for each if that is wanted.
  for (sandbox::Registry::Created& created : forked.made) {
    if (fork.opencode.value_or(true)) services.servers.Start(created.info.id);
  }
  if (fork.opencode.value_or(false)) {
    for (sandbox::Registry::Created& created : forked.made) {
      CO_TRY(co_await services.servers.WaitReady(created.info.id, kOpencodeLimit));
    }
  }
  co_return ForkedJson(services, forked, exchange.request());
}

}  // namespace

Result<ForkBody> ParseFork(const json::Object& body) {
  ForkBody fork;
  ASSIGN(std::optional<std::string> id, body.OptionalText("id"));
  if (id) {
    TRY(sandbox::ValidateId(*id));
    fork.request.id = std::move(*id);
  }
  ASSIGN(std::optional<int64_t> count,
         body.OptionalInt("count", {.min = 1, .max = sandbox::kMostForks}));
  if (count) fork.request.count = static_cast<int>(*count);
  ASSIGN(std::optional<bool> memory, body.OptionalBool("memory"));
  fork.request.memory = memory.value_or(false);
  ASSIGN(fork.opencode, body.OptionalBool("opencode"));
  return fork;
}

async::Task<> Fork(const Services& services, std::string id, http::Exchange& exchange) {
  Result<std::string> json = co_await DoFork(services, std::move(id), exchange);
  if (json) {
    Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(*json));
    (void)sent;  // the client has gone away
  } else {
    co_await http::RespondError(exchange, std::move(json).error());
  }
}

}  // namespace atl::api
