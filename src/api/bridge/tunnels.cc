// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/seed/output_events.h"
#include "api/v1/file_json.h"
#include "json/writer.h"
#include "sandbox/id.h"
#include "sandbox/ports.h"

namespace atl::api::bridge {
namespace {

constexpr size_t kMostBody = 64UL << 10U;

Result<uint16_t> ParsePort(std::string_view text) {
  unsigned port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  bool digits = error == std::errc() && end == text.data() + text.size();
  if (digits && port >= 1 && port <= 65535) return static_cast<uint16_t>(port);
  return Fail(Code::kInvalidArgument, fmt::format("\"{:.64}\" is no port: 1 to 65535", text));
}

std::string TunnelJson(const Services& services, const sandbox::Exposure& exposure,
                       const http::RequestHead& request) {
  std::string label = sandbox::PreviewLabel(exposure);
  std::string url = SandboxUrl(services, label, request);
  if (url.ends_with('/')) url.pop_back();
  json::Writer writer;
  writer.BeginObject().Field("id", label).Field("port", exposure.port).Field("url", url);
  writer.Field("hostname", fmt::format("{}.{}", label, services.domain));
  writer.Field("createdAt", IsoTime(exposure.created_at_ms));
  if (!exposure.name.empty()) writer.Field("name", exposure.name);
  writer.EndObject();
  return writer.Take();
}

// A port that has a preview URL keeps it.
async::Task<Result<sandbox::Exposure>> Expose(const Services& services, const std::string& id,
                                              sandbox::ExposeRequest request) {
  uint16_t port = request.port;
  Result<sandbox::Exposure> exposure = co_await services.ports.Expose(id, std::move(request));
  if (exposure || ReasonOf(exposure.error()) != "PORT_ALREADY_EXPOSED") co_return exposure;
  CO_ASSIGN(std::vector<sandbox::Exposure> exposed, services.ports.Exposed(id));
  auto found = std::ranges::find(exposed, port, &sandbox::Exposure::port);
  if (found != exposed.end()) co_return *found;
  co_return exposure;
}

async::Task<Result<std::string>> Open(const Services& services, Values values,
                                      http::Exchange& exchange) {
  sandbox::ExposeRequest request;
  CO_ASSIGN(request.port, ParsePort(values.at(1)));
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMostBody));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  CO_ASSIGN(std::optional<std::string> name, body.OptionalText("name"));
  request.name = std::move(name).value_or("");
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, values[0], exchange));
  CO_ASSIGN(sandbox::Exposure exposure,
            co_await Expose(services, sandbox->id(), std::move(request)));
  co_return TunnelJson(services, exposure, exchange.request());
}

async::Task<Result<void>> Close(const Services& services, Values values) {
  CO_TRY(sandbox::ValidateId(values.at(0)));
  CO_ASSIGN(uint16_t port, ParsePort(values.at(1)));
  Result<void> closed = co_await services.ports.Unexpose(std::move(values[0]), port);
  if (!closed && closed.error().code == Code::kNotFound) closed = {};
  co_return closed;
}

}  // namespace

async::Task<> OpenTunnel(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await Open(services, std::move(values), exchange);
  if (!json) {
    co_await RespondFailure(exchange, std::move(json).error(), kTunnelFailed);
    co_return;
  }
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> CloseTunnel(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> closed = co_await Close(services, std::move(values));
  if (!closed) {
    co_await RespondFailure(exchange, std::move(closed).error(), kTunnelFailed);
    co_return;
  }
  co_await RespondNothing(exchange);
}

}  // namespace atl::api::bridge
