// SPDX-License-Identifier: Apache-2.0
#include "api/v1/ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "api/seed/output_events.h"
#include "api/v1/answers/ports.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/ports.h"
#include "snapshot/policy.h"

namespace atl::api {
namespace {

constexpr size_t kMaxBody = 64UL << 10U;
constexpr int64_t kMaxTtl = 10L * 365 * 86'400;

Result<uint16_t> ParsePort(std::string_view text) {
  unsigned port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  bool digits = error == std::errc() && end == text.data() + text.size();
  if (digits && port >= 1 && port <= 65535) return static_cast<uint16_t>(port);
  return Fail(Code::kInvalidArgument, fmt::format("\"{:.64}\" is no port: 1 to 65535", text),
              "INVALID_PORT");
}

Result<std::optional<std::chrono::seconds>> ParseTtl(const json::Object& body) {
  using Ttl = std::optional<std::chrono::seconds>;
  if (body.IsString("ttl")) {
    ASSIGN(std::string text, body.Text("ttl"));
    Result<Ttl> ttl = snapshot::ParseTtl(text);
    if (ttl) return ttl;
    return Fail(Code::kInvalidArgument, "\"ttl\": " + ttl.error().message, "VALIDATION_FAILED");
  }
  ASSIGN(std::optional<int64_t> seconds, body.OptionalInt("ttl", {.min = 1, .max = kMaxTtl}));
  return seconds ? Ttl(std::chrono::seconds(*seconds)) : Ttl();
}

Result<sandbox::ExposeRequest> ParseExpose(std::string_view port, std::string_view text) {
  sandbox::ExposeRequest request;
  ASSIGN(request.port, ParsePort(port));
  ASSIGN(json::Object body, json::Object::Parse(text, true));
  ASSIGN(std::optional<std::string> name, body.OptionalText("name"));
  request.name = std::move(name).value_or("");
  ASSIGN(request.token, body.OptionalText("token"));
  ASSIGN(request.ttl, ParseTtl(body));
  ASSIGN(std::optional<bool> is_signed, body.OptionalBool("signed"));
  request.is_signed = is_signed.value_or(false);
  return request;
}

void WriteExposure(json::Writer& writer, const Services& services,
                   const sandbox::Exposure& exposure, const http::RequestHead& request) {
  std::string url = SandboxUrl(services, sandbox::PreviewLabel(exposure), request);
  if (exposure.is_signed) {
    url += fmt::format("?{}={}", sandbox::kPreviewAccess, services.ports.Signature(exposure));
  }
  writer.BeginObject().Field("url", url).Field("port", exposure.port);
  writer.Field("name", exposure.name).Field("token", exposure.token);
  writer.Field("signed", exposure.is_signed);
  writer.Field("createdAt", IsoTime(exposure.created_at_ms)).Key("expiresAt");
  if (exposure.expires_at_ms == 0) {
    writer.Null();
  } else {
    writer.String(IsoTime(exposure.expires_at_ms));
  }
  writer.EndObject();
}

void WriteListening(json::Writer& writer, const Services& services, std::string_view id,
                    const sandbox::ListeningSocket& socket,
                    const std::vector<sandbox::Exposure>& exposed,
                    const http::RequestHead& request) {
  writer.BeginObject().Field("port", socket.port).Field("address", socket.address);
  std::string label = fmt::format("{}-{}", socket.port, id);
  writer.Field("url", SandboxUrl(services, label, request));
  if (socket.pid != 0) {
    writer.Key("process").BeginObject().Field("pid", socket.pid).Field("name", socket.name);
    writer.Key("argv").BeginArray();
    for (const std::string& argument : socket.argv) writer.String(argument);
    writer.EndArray().EndObject();
  }
  auto found = std::ranges::find(exposed, socket.port, &sandbox::Exposure::port);
  writer.Key("exposed");
  if (found == exposed.end()) {
    writer.Null();
  } else {
    WriteExposure(writer, services, *found, request);
  }
  writer.EndObject();
}

async::Task<Result<std::string>> ListJson(const Services& services, std::string id,
                                          const http::RequestHead& request) {
  CO_ASSIGN(sandbox::Listening listening, co_await services.ports.ListeningIn(id));
  CO_ASSIGN(std::vector<sandbox::Exposure> exposed, services.ports.Exposed(id));
  json::Writer writer;
  writer.BeginObject().Key("ports").BeginArray();
  for (const sandbox::ListeningSocket& socket : listening.sockets) {
    WriteListening(writer, services, id, socket, exposed, request);
  }
  writer.EndArray().Field("complete", listening.complete).EndObject();
  co_return writer.Take();
}

async::Task<> ListPorts(const Services& services, std::string id, http::Exchange& exchange) {
  Result<std::string> json = co_await ListJson(services, std::move(id), exchange.request());
  co_await RespondResult(exchange, std::move(json));
}

Result<std::string> ExposedJson(const Services& services, std::string_view id,
                                const http::RequestHead& request) {
  ASSIGN(std::vector<sandbox::Exposure> exposed, services.ports.Exposed(id));
  json::Writer writer;
  writer.BeginObject().Key("ports").BeginArray();
  for (const sandbox::Exposure& one : exposed) WriteExposure(writer, services, one, request);
  writer.EndArray().EndObject();
  return writer.Take();
}

async::Task<> ListExposed(const Services& services, std::string id, http::Exchange& exchange) {
  co_await RespondResult(exchange, ExposedJson(services, id, exchange.request()));
}

async::Task<Result<std::string>> DoExpose(const Services& services, Values values,
                                          http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBody));
  CO_ASSIGN(sandbox::ExposeRequest request, ParseExpose(values[1], text));
  CO_ASSIGN(sandbox::Exposure exposure,
            co_await services.ports.Expose(std::move(values[0]), std::move(request)));
  json::Writer writer;
  WriteExposure(writer, services, exposure, exchange.request());
  co_return writer.Take();
}

async::Task<> Expose(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoExpose(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> Unexpose(const Services& services, Values values, http::Exchange& exchange) {
  Result<uint16_t> port = ParsePort(values[1]);
  Result<void> removed;
  if (!port) {
    removed = Unexpected(std::move(port).error());
  } else {
    removed = co_await services.ports.Unexpose(std::move(values[0]), *port);
  }
  if (!removed) {
    co_await http::RespondError(exchange, std::move(removed).error());
    co_return;
  }
  http::ResponseHead head;
  head.status = 204;
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

constexpr Field kExposeFields[] = {
    {.name = "name", .about = "For people."},
    {.name = "token",
     .about =
         "1 to 16 characters of a-z, 0-9 and _: what makes the URL hard to guess. A random one "
         "when it is not there."},
    {.name = "ttl", .kind = Kind::kAny, .about = "Seconds, \"3d\" or \"never\"."},
    {.name = "signed",
     .kind = Kind::kBoolean,
     .about =
         "The URL carries a signature, without which its host answers nobody. For a day unless "
         "ttl says otherwise."},
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/ports",
     .operation = "listPorts",
     .summary = "The TCP ports on which its programs listen.",
     .handler = OfSandbox<ListPorts>,
     .returns = &answers::kListeningList},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/ports/exposed",
     .operation = "listExposedPorts",
     .summary = "Its ports that have a preview URL.",
     .handler = OfSandbox<ListExposed>,
     .returns = &answers::kExposureList},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/ports/{port}/expose",
     .operation = "exposePort",
     .summary = "Gives a port a preview URL.",
     .handler = Expose,
     .returns = &answers::kExposure,
     .body = Media::kJson,
     .fields = kExposeFields},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/ports/{port}/expose",
     .operation = "unexposePort",
     .summary = "Takes the preview URL of a port back.",
     .handler = Unexpose,
     .answer = Media::kNone},
};

}  // namespace

std::span<const Route> PortRoutes() { return kRoutes; }

}  // namespace atl::api
