// SPDX-License-Identifier: Apache-2.0
#include "api/seed/snapshots.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "api/seed/progress_stream.h"

namespace atl::api {
namespace {

constexpr size_t kMaxNameBytes = 256;
constexpr int64_t kMaxTtl = 100LL * 366 * 86400;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "INVALID_BACKUP_CONFIG");
}

// Seconds, "3d" or "never".
Result<std::optional<std::optional<std::chrono::seconds>>> Ttl(const json::Object& body) {
  using Ttl = std::optional<std::optional<std::chrono::seconds>>;
  if (body.IsString("ttl")) {
    ASSIGN(std::string text, body.Text("ttl"));
    auto ttl = snapshot::ParseTtl(text);
    if (!ttl) return Invalid("\"ttl\": " + ttl.error().message);
    return Ttl(*ttl);
  }
  ASSIGN(std::optional<int64_t> seconds, body.OptionalInt("ttl", {.min = 1, .max = kMaxTtl}));
  if (!seconds) return Ttl();
  return Ttl(std::chrono::seconds(*seconds));
}

void WritePhases(json::Writer& writer, const std::vector<std::pair<std::string, double>>& phases) {
  writer.Key("phases").BeginObject();
  for (const auto& [name, ms] : phases) writer.Field(name, ms);
  writer.EndObject();
}

std::string SnapshotJson(const sandbox::SnapshotResult& result) {
  repository::Tags tags = result.record.decoded_tags();
  json::Writer writer;
  writer.BeginObject().Field("snapshotId", result.record.id().Hex()).Field("dir", tags.dir);
  writer.Field("name", tags.name).Field("trigger", repository::TriggerName(tags.trigger));
  writer.Field("bytesAdded", result.bytes_added).Field("bytesTotal", result.bytes_total);
  writer.Field("files", result.files).Field("filesChanged", result.files_changed);
  // A busy directory is saved file by file, each as it was at one moment if it held still for that.
  writer.Field("consistency", tags.frozen ? "frozen" : "best-effort");
  writer.Field("changedWhileRead", result.changed_while_read);
  writer.Field("skipped", result.skipped);
  if (!result.skipped_paths.empty()) {
    writer.Key("skippedPaths").BeginArray();
    for (const std::string& path : result.skipped_paths) writer.String(path);
    writer.EndArray();
  }
  if (result.unchanged) writer.Field("unchanged", true);
  writer.Field("freezeMs", result.freeze_ms).Field("durationMs", result.duration_ms);
  writer.Field("storeRequests", result.store_requests);
  WritePhases(writer, result.phases);
  writer.EndObject();
  return writer.Take();
}

std::string RestoreJson(const sandbox::RestoreOutcome& outcome) {
  const snapshot::RestoreResult& result = outcome.result;
  json::Writer writer;
  writer.BeginObject().Field("snapshotId", outcome.snapshot_id).Field("dir", result.dir);
  writer.Field("files", result.files).Field("bytesTotal", result.bytes_total);
  writer.Field("filesWritten", result.files_written).Field("bytesWritten", result.bytes_written);
  writer.Field("filesKept", result.files_kept).Field("removed", result.removed);
  writer.Field("specialSkipped", result.special_skipped);
  if (result.piecewise) writer.Field("piecewise", true);
  writer.Field("freezeMs", result.freeze_ms).Field("durationMs", result.duration_ms);
  WritePhases(writer, result.phases);
  writer.EndObject();
  return writer.Take();
}

Result<bool> ParseStop(const json::Object& body) {
  ASSIGN(std::optional<bool> keep_memory, body.OptionalBool("keepMemory"));
  return keep_memory.value_or(false);
}

async::Task<Result<std::string>> DoSnapshot(const Services& services, std::string id,
                                            sandbox::SnapshotRequest request,
                                            http::Exchange& exchange) {
  sandbox::Waited waited;
  auto taken = co_await services.registry.Snapshot(std::move(id), std::move(request), &waited);
  waited.SayIn(exchange);
  CO_ASSIGN(sandbox::SnapshotResult result, std::move(taken));
  co_return SnapshotJson(result);
}

async::Task<Result<std::string>> DoRestore(const Services& services, std::string id,
                                           sandbox::RestoreRequest request,
                                           http::Exchange& exchange) {
  sandbox::Waited waited;
  auto restored = co_await services.registry.Restore(std::move(id), std::move(request), &waited);
  waited.SayIn(exchange);
  CO_ASSIGN(sandbox::RestoreOutcome outcome, std::move(restored));
  co_return RestoreJson(outcome);
}

template <class Request>
async::Task<Result<Request>> ReadRequest(http::Exchange& exchange,
                                         std::function<Result<Request>(json::Object)> parse) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  co_return parse(std::move(body));
}

}  // namespace

Result<sandbox::SnapshotRequest> ParseSnapshot(const json::Object& body) {
  sandbox::SnapshotRequest request;
  ASSIGN(request.dir, body.Text("dir"));
  ASSIGN(std::optional<std::string> name, body.OptionalText("name"));
  request.name = name.value_or("");
  bool control = std::ranges::any_of(
      request.name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (control || request.name.size() > kMaxNameBytes) {
    return Invalid("\"name\" must be at most 256 bytes without control characters");
  }
  ASSIGN(request.freeze, body.OptionalBool("freeze"));
  ASSIGN(request.ttl, Ttl(body));
  ASSIGN(auto tags, body.OptionalTextList("tags"));
  if (tags) request.labels = std::move(*tags);
  ASSIGN(auto exclude, body.OptionalTextList("exclude"));
  if (exclude) request.exclude = std::move(*exclude);
  return request;
}

Result<sandbox::RestoreRequest> ParseRestore(const json::Object& body, std::string snapshot_id) {
  sandbox::RestoreRequest request{.snapshot_id = std::move(snapshot_id)};
  ASSIGN(std::optional<std::string> dir, body.OptionalText("dir"));
  request.dir = dir.value_or("");
  ASSIGN(std::optional<std::string> from, body.OptionalText("from"));
  request.from = from.value_or("");
  ASSIGN(std::optional<std::string> mode, body.OptionalText("mode"));
  if (mode && *mode != "replace" && *mode != "merge") {
    return Invalid(R"("mode" must be "replace" or "merge")");
  }
  request.merge = mode == "merge";
  return request;
}

async::Task<> Snapshot(const Services& services, std::string id, http::Exchange& exchange) {
  Result<sandbox::SnapshotRequest> request =
      co_await ReadRequest<sandbox::SnapshotRequest>(exchange, ParseSnapshot);
  if (!request) {
    co_await http::RespondError(exchange, std::move(request).error());
    co_return;
  }
  ProgressWork work = [&services, &exchange, id,
                       request = std::move(*request)](snapshot::OnProgress on_progress) mutable {
    request.on_progress = std::move(on_progress);
    return DoSnapshot(services, id, request, exchange);
  };
  co_await RespondWithProgress(exchange, std::move(work));
}

async::Task<> Restore(const Services& services, std::string id, std::string snapshot_id,
                      bool of_any_sandbox, http::Exchange& exchange) {
  auto parse = [&snapshot_id](const json::Object& body) { return ParseRestore(body, snapshot_id); };
  Result<sandbox::RestoreRequest> request =
      co_await ReadRequest<sandbox::RestoreRequest>(exchange, parse);
  if (!request) {
    co_await http::RespondError(exchange, std::move(request).error());
    co_return;
  }
  request->of_any_sandbox = of_any_sandbox;
  ProgressWork work = [&services, &exchange, id,
                       request = std::move(*request)](snapshot::OnProgress on_progress) mutable {
    request.on_progress = std::move(on_progress);
    return DoRestore(services, id, request, exchange);
  };
  co_await RespondWithProgress(exchange, std::move(work));
}

async::Task<> Stop(const Services& services, std::string id, http::Exchange& exchange) {
  Result<bool> keep_memory = co_await ReadRequest<bool>(exchange, ParseStop);
  if (!keep_memory) {
    co_await http::RespondError(exchange, std::move(keep_memory).error());
    co_return;
  }
  Result<sandbox::Registry::Stopped> stopped = co_await services.registry.Stop(id, *keep_memory);
  if (!stopped) {
    co_await http::RespondError(exchange, std::move(stopped).error());
    co_return;
  }
  services.servers.Forget(id);
  json::Writer writer;
  writer.BeginObject().Field("id", id).Field("state", "stopped");
  writer.Field("saved", stopped->save_failure.empty()).Key("snapshots").BeginArray();
  for (const std::string& snapshot : stopped->snapshot_ids) writer.String(snapshot);
  writer.EndArray();
  if (!stopped->save_failure.empty()) writer.Field("saveFailure", stopped->save_failure);
  if (*keep_memory) writer.Field("memoryKept", stopped->memory_kept);
  if (!stopped->memory_failure.empty()) writer.Field("memoryFailure", stopped->memory_failure);
  writer.EndObject();
  Result<void> sent = co_await http::RespondJson(exchange, 200, writer.Take());
  (void)sent;  // the client has gone away
}

void WritePolicy(json::Writer& writer, const snapshot::AutoPolicy& policy) {
  writer.Key("snapshots").Raw(snapshot::EncodeAutoPolicy(policy));
}

}  // namespace atl::api
