// SPDX-License-Identifier: Apache-2.0
#include "api/v1/v1.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/seed/fork.h"
#include "api/seed/output_events.h"
#include "api/seed/snapshots.h"
#include "api/v1/assets.h"
#include "api/v1/lifecycle.h"
#include "api/v1/pool.h"
#include "api/v1/snapshots.h"
#include "api/v1/usage.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

// The page talks to its own origin alone and runs no code but its files.
constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void WriteSandbox(json::Writer& writer, const Services& services, const sandbox::Info& info,
                  const http::RequestHead& request) {
  writer.BeginObject().Field("id", info.id).Field("url", SandboxUrl(services, info.id, request));
  writer.Field("state", sandbox::StateName(info.state)).Field("image", info.image);
  writer.Field("createdAt", IsoTime(info.created_at_ms));
  writer.Field("opencode", OpencodeState(services, info));
  writer.Field("memory", info.limits.memory_bytes).Field("cpus", info.limits.cpus);
  writer.Field("pids", info.limits.pids).Field("disk", info.limits.disk_bytes);
  writer.Field("inodes", info.limits.inodes).Field("weight", info.limits.weight);
  WriteSleepPolicy(writer, info.sleep);
  WritePolicy(writer, info.snapshots);
  if (auto usage = services.registry.Usage(info.id, false)) {
    writer.Key("usage");
    WriteUsage(writer, *usage);
  }
  if (info.unsaved) writer.Field("unsaved", true).Field("saveFailure", info.save_failure);
  if (!info.failure.empty()) writer.Field("failure", info.failure);
  writer.EndObject();
}

// A failure of writing means that the client has gone away.
async::Task<> RespondOk(http::Exchange& exchange, std::string json) {
  Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(json));
  (void)sent;
}

async::Task<> RespondNotFound(http::Exchange& exchange) {
  Error error{.code = Code::kNotFound,
              .message = fmt::format("there is nothing at {:.200}", exchange.request().path())};
  co_await http::RespondError(exchange, std::move(error));
}

async::Task<> RespondAsset(http::Exchange& exchange, const Asset& asset) {
  http::ResponseHead head;
  head.headers.Add("Content-Type", std::string(ContentType(asset.name)));
  head.headers.Add("Cache-Control", "no-cache");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  head.headers.Add("Referrer-Policy", "no-referrer");
  head.headers.Add("Content-Security-Policy", std::string(kPagePolicy));
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string(asset.content));
  (void)sent;  // the client has gone away
}

bool IsRead(const http::RequestHead& request) {
  return request.method == "GET" || request.method == "HEAD";
}

}  // namespace

std::vector<std::string> PathParts(std::string_view path) {
  std::vector<std::string> parts;
  while (path.starts_with('/')) {
    path.remove_prefix(1);
    size_t end = std::min(path.find('/'), path.size());
    parts.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return parts;
}

async::Task<> V1::RespondList(http::Exchange& exchange) {
  json::Writer writer;
  writer.BeginObject().Key("sandboxes").BeginArray();
  for (const sandbox::Info& info : services_.registry.List()) {
    WriteSandbox(writer, services_, info, exchange.request());
  }
  writer.EndArray().EndObject();
  co_await RespondOk(exchange, writer.Take());
}

// /v1/sandboxes/<id>
async::Task<> V1::HandleSandbox(std::string id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  if (request.method == "DELETE") {
    co_await Delete(services_, std::move(id), exchange);
    co_return;
  }
  if (!IsRead(request) && request.method != "PATCH") {
    co_await RespondMethodNotAllowed(exchange, "GET, HEAD, PATCH, DELETE");
    co_return;
  }
  std::optional<sandbox::Info> info;
  if (request.method == "PATCH") {
    Result<sandbox::Info> changed = co_await Change(services_, id, exchange);
    if (!changed) {
      co_await http::RespondError(exchange, std::move(changed).error());
      co_return;
    }
    info = *std::move(changed);
  } else {
    info = services_.registry.Find(id);
  }
  if (!info) {
    Error error{.code = Code::kNotFound,
                .message = fmt::format("there is no sandbox {}", id),
                .reason = "SANDBOX_NOT_FOUND"};
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  json::Writer writer;
  WriteSandbox(writer, services_, *info, request);
  co_await RespondOk(exchange, writer.Take());
}

// /v1/sandboxes/<id>/<rest…>
async::Task<> V1::HandleAction(std::string id, std::vector<std::string> rest,
                               http::Exchange& exchange) {
  using Action = async::Task<> (*)(const Services&, std::string, http::Exchange&);
  const http::RequestHead& request = exchange.request();
  const std::string& name = rest[0];
  bool restore = name == "restore" && rest.size() <= 2;
  Action action = nullptr;
  if (rest.size() == 1) {
    if (name == "create") action = Create;
    if (name == "fork") action = Fork;
    if (name == "run") action = Run;
    if (name == "gitClone") action = GitClone;
    if (name == "snapshot") action = Snapshot;
    if (name == "stop") action = Stop;
    if (name == "usage") {
      co_await RespondUsage(services_, std::move(id), exchange);
      co_return;
    }
    if (name == "sleep") action = Sleep;
    if (name == "wake") action = Wake;
    if (name == "snapshots" || name == "events") {
      if (IsRead(request) && name == "events") {
        co_await Events(services_, std::move(id), exchange);
      } else if (IsRead(request)) {
        co_await ListSnapshotsOf(services_, std::move(id), exchange);
      } else {
        co_await RespondMethodNotAllowed(exchange, "GET, HEAD");
      }
      co_return;
    }
  }
  if (action == nullptr && !restore) {
    co_await RespondNotFound(exchange);
  } else if (request.method != "POST") {
    co_await RespondMethodNotAllowed(exchange, "POST");
  } else if (restore) {
    std::string snapshot_id = rest.size() == 2 ? std::move(rest[1]) : std::string();
    // Who commands every sandbox may copy from one to another.
    co_await Restore(services_, std::move(id), std::move(snapshot_id), true, exchange);
  } else {
    co_await action(services_, std::move(id), exchange);
  }
}

async::Task<> V1::Handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  std::string path(request.path());
  std::vector<std::string> parts = PathParts(path);
  bool sandboxes = parts.size() >= 2 && parts[0] == "v1" && parts[1] == "sandboxes";
  if (sandboxes && parts.size() >= 3) {
    std::string id = parts[2];
    Result<void> valid = sandbox::ValidateId(id);
    if (!valid) {
      co_await http::RespondError(exchange, std::move(valid).error());
    } else if (parts.size() == 3) {
      co_await HandleSandbox(std::move(id), exchange);
    } else {
      std::vector<std::string> rest(parts.begin() + 3, parts.end());
      co_await HandleAction(std::move(id), std::move(rest), exchange);
    }
    co_return;
  }
  if (parts.size() >= 2 && parts[0] == "v1" && parts[1] == "pool") {
    std::vector<std::string> rest(parts.begin() + 2, parts.end());
    co_await HandlePool(services_, std::move(rest), exchange);
    co_return;
  }
  if (parts.size() >= 2 && parts[0] == "v1" && parts[1] == "snapshots") {
    std::vector<std::string> rest(parts.begin() + 2, parts.end());
    co_await HandleSnapshots(services_, std::move(rest), exchange);
    co_return;
  }
  const Asset* asset = FindAsset(path);
  if (!sandboxes && asset == nullptr) {
    co_await RespondNotFound(exchange);
  } else if (!IsRead(request)) {
    co_await RespondMethodNotAllowed(exchange, "GET, HEAD");
  } else if (sandboxes) {
    co_await RespondList(exchange);
  } else {
    co_await RespondAsset(exchange, *asset);
  }
}

}  // namespace atl::api
