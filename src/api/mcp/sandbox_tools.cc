// SPDX-License-Identifier: Apache-2.0
// Snapshots, preview URLs, and the sandboxes themselves.
#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "api/mcp/tool.h"
#include "api/seed/output_events.h"
#include "api/seed/requests.h"
#include "repository/records.h"
#include "sandbox/id.h"
#include "sandbox/ports.h"

namespace atl::api::mcp {
namespace {

constexpr std::chrono::milliseconds kListAge{1000};
constexpr int64_t kListed = 50;
constexpr int64_t kMostListed = 1000;
constexpr size_t kMaxName = 256;

async::Task<Result<Output>> Snapshot(Call call) {
  sandbox::SnapshotRequest request;
  request.dir = Text(call, "dir", "/workspace");
  request.name = Text(call, "name");
  bool control = std::ranges::any_of(
      request.name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (control || request.name.size() > kMaxName) {
    co_return Fail(Code::kInvalidArgument,
                   "\"name\" must be at most 256 bytes without control characters",
                   "VALIDATION_FAILED");
  }
  CO_ASSIGN(sandbox::SnapshotResult result, co_await call.services.registry.Snapshot(
                                                call.sandbox, std::move(request), call.waited));
  std::string id = result.record.id().Hex();
  std::string dir = result.record.decoded_tags().dir;
  json::Writer writer;
  writer.BeginObject().Field("snapshot", id).Field("dir", dir).Field("files", result.files);
  writer.Field("bytesAdded", result.bytes_added).Field("bytesTotal", result.bytes_total);
  writer.Field("skipped", result.skipped).EndObject();
  co_return Output{.text = fmt::format("Saved {} as snapshot {}: {} files, {} bytes", dir, id,
                                       result.files, result.bytes_total),
                   .structured = writer.Take()};
}

async::Task<Result<Output>> Restore(Call call) {
  sandbox::RestoreRequest request;
  request.snapshot_id = Text(call, "snapshot");
  request.dir = Text(call, "dir");
  request.merge = Flag(call, "merge");
  // Who sees one sandbox gets nothing out of another.
  request.of_any_sandbox = !call.scoped;
  CO_ASSIGN(sandbox::RestoreOutcome outcome,
            co_await call.services.registry.Restore(call.sandbox, std::move(request), call.waited));
  const snapshot::RestoreResult& result = outcome.result;
  json::Writer writer;
  writer.BeginObject().Field("snapshot", outcome.snapshot_id).Field("dir", result.dir);
  writer.Field("files", result.files).Field("filesWritten", result.files_written);
  writer.Field("removed", result.removed).EndObject();
  co_return Output{.text = fmt::format("Restored {} from snapshot {}: {} files", result.dir,
                                       outcome.snapshot_id, result.files),
                   .structured = writer.Take()};
}

Output SnapshotsOutput(const std::vector<repository::SnapshotRecord>& all, std::string_view sandbox,
                       int64_t limit) {
  constexpr int64_t kMsPerSecond = 1000;
  Output output;
  json::Writer writer;
  writer.BeginObject().Key("snapshots").BeginArray();
  bool more = false;
  int64_t count = 0;
  for (const repository::SnapshotRecord& record : std::views::reverse(all)) {
    repository::Tags tags = record.decoded_tags();
    if (tags.sandbox != sandbox) continue;
    more = count == limit;
    if (more) break;
    ++count;
    std::string id = record.id().Hex();
    std::string made = IsoTime(record.time.seconds * kMsPerSecond);
    writer.BeginObject().Field("snapshot", id).Field("dir", tags.dir).Field("name", tags.name);
    writer.Field("trigger", repository::TriggerName(tags.trigger));
    writer.Field("createdAt", made).EndObject();
    output.text += fmt::format("{}  {}  {}  {}\n", id, made, tags.dir, tags.name);
  }
  writer.EndArray().Field("more", more).EndObject();
  if (count == 0) output.text = "[none]";
  if (more) output.text += "[cut: there are older ones]";
  output.structured = writer.Take();
  return output;
}

async::Task<Result<Output>> ListSnapshots(Call call) {
  auto list = [&call]() -> Result<Output> {
    ASSIGN(snapshot::Vault::Repo repository, call.services.registry.vault().GetFresh(kListAge));
    return SnapshotsOutput(repository->Snapshots(), call.sandbox, Integer(call, "limit", kListed));
  };
  Result<Output> output = co_await call.services.registry.transfers().Run(list);
  co_return output;
}

async::Task<Result<Output>> Expose(Call call) {
  sandbox::ExposeRequest request;
  request.port = static_cast<uint16_t>(Integer(call, "port", 0));
  request.is_signed = Flag(call, "signed");
  request.name = Text(call, "name");
  int64_t ttl = Integer(call, "ttl_seconds", 0);
  if (ttl > 0) request.ttl = std::chrono::seconds(ttl);
  CO_ASSIGN(sandbox::Exposure exposure,
            co_await call.services.ports.Expose(call.sandbox, std::move(request)));
  std::string url = SandboxUrl(call.services, sandbox::PreviewLabel(exposure), call.request);
  if (exposure.is_signed) {
    url += fmt::format("?{}={}", sandbox::kPreviewAccess, call.services.ports.Signature(exposure));
  }
  json::Writer writer;
  writer.BeginObject().Field("url", url).Field("port", exposure.port).EndObject();
  co_return Output{.text = url, .structured = writer.Take()};
}

async::Task<Result<Output>> CreateSandbox(Call call) {
  CO_ASSIGN(CreateRequest request,
            ParseCreate(call.arguments, call.services.registry.default_policy(),
                        call.services.registry.default_sleep()));
  std::string id = Text(call, "id");
  if (id.empty()) id = sandbox::NewId();
  CO_TRY(sandbox::ValidateId(id));
  CO_ASSIGN(sandbox::Registry::Created created,
            co_await call.services.registry.Create(id, std::move(request.options)));
  if (call.waited != nullptr) call.waited->Add(created.waited);
  json::Writer writer;
  std::string url = SandboxUrl(call.services, id, call.request);
  writer.BeginObject().Field("sandbox", id).Field("url", url);
  writer.Field("state", sandbox::StateName(created.info.state)).EndObject();
  co_return Output{.text = fmt::format("Sandbox {} is there: {}", id, url),
                   .structured = writer.Take()};
}

async::Task<Result<Output>> ListSandboxes(Call call) {
  int64_t limit = Integer(call, "limit", kListed);
  std::string after = Text(call, "after");
  Output output;
  json::Writer writer;
  writer.BeginObject().Key("sandboxes").BeginArray();
  int64_t count = 0;
  bool more = false;
  for (const sandbox::Info& info : call.services.registry.List()) {
    if (!after.empty() && info.id <= after) continue;
    more = count == limit;
    if (more) break;
    ++count;
    std::string_view state = sandbox::StateName(info.state);
    writer.BeginObject().Field("sandbox", info.id).Field("state", state);
    writer.Field("url", SandboxUrl(call.services, info.id, call.request));
    writer.Field("createdAt", IsoTime(info.created_at_ms)).EndObject();
    output.text += fmt::format("{}  {}\n", info.id, state);
  }
  writer.EndArray().Field("more", more).EndObject();
  if (count == 0) output.text = "[none]";
  if (more) output.text += "[cut: there are more, after the last one]";
  output.structured = writer.Take();
  co_return output;
}

async::Task<Result<Output>> DeleteSandbox(Call call) {
  CO_TRY(co_await call.services.registry.Delete(call.sandbox));
  call.services.servers.Forget(call.sandbox);
  json::Writer writer;
  writer.BeginObject().Field("sandbox", call.sandbox).Field("deleted", true).EndObject();
  co_return Output{.text = fmt::format("Deleted {}", call.sandbox), .structured = writer.Take()};
}

constexpr Argument kLimit{.name = "limit",
                          .type = Type::kInteger,
                          .about = "At most so many; 50 when it is not there.",
                          .min = 1,
                          .max = kMostListed};
constexpr Argument kSnapshotArguments[] = {
    {.name = "dir", .about = "What is saved; /workspace when it is not there."},
    {.name = "name", .about = "For people."},
};
constexpr Argument kRestoreArguments[] = {
    {.name = "snapshot", .about = "Its id, or the first 8 digits or more.", .required = true},
    {.name = "dir", .about = "Where to; where it was saved when it is not there."},
    {.name = "merge", .type = Type::kBoolean, .about = "Keep what the snapshot does not have."},
};
constexpr Argument kListSnapshotsArguments[] = {kLimit};
constexpr Argument kExposeArguments[] = {
    {.name = "port",
     .type = Type::kInteger,
     .about = "The TCP port on which a program listens.",
     .required = true,
     .min = 1,
     .max = 65535},
    {.name = "name", .about = "For people."},
    {.name = "ttl_seconds", .type = Type::kInteger, .about = "How long the URL works.", .min = 1},
    {.name = "signed", .type = Type::kBoolean, .about = "The URL carries a signature; a day."},
};
constexpr Argument kCreateArguments[] = {
    {.name = "id", .about = "Its id: a-z, 0-9 and hyphens; a new one when it is not there."},
    {.name = "image", .about = "The image that it is made of."},
    {.name = "memory", .about = "The most memory that its programs have, such as 2G."},
    {.name = "disk", .about = "The most that its files take, such as 10G."},
};
constexpr Argument kListSandboxesArguments[] = {
    kLimit, {.name = "after", .about = "Only ids behind this one."}};

constexpr Tool kTools[] = {
    {.name = "snapshot",
     .title = "Take a snapshot",
     .about = "Saves a directory; returns the id of the snapshot when it is durable.",
     .arguments = kSnapshotArguments,
     .handler = Snapshot},
    {.name = "restore",
     .title = "Restore a snapshot",
     .about = "Makes a directory what it was; what has come since is removed, unless merge.",
     .arguments = kRestoreArguments,
     .handler = Restore,
     .destructive = true},
    {.name = "list_snapshots",
     .title = "List snapshots",
     .about = "Returns the snapshots of the sandbox, newest first.",
     .arguments = kListSnapshotsArguments,
     .handler = ListSnapshots,
     .read_only = true},
    {.name = "expose",
     .title = "Expose a port",
     .about = "Gives a port a preview URL that a browser can open.",
     .arguments = kExposeArguments,
     .handler = Expose},
    {.name = "create_sandbox",
     .title = "Create a sandbox",
     .about = "Makes a sandbox, or starts one that exists.",
     .arguments = kCreateArguments,
     .handler = CreateSandbox,
     .of_sandbox = false},
    {.name = "list_sandboxes",
     .title = "List sandboxes",
     .about = "Returns the sandboxes, by id.",
     .arguments = kListSandboxesArguments,
     .handler = ListSandboxes,
     .read_only = true,
     .of_sandbox = false},
    {.name = "delete_sandbox",
     .title = "Delete a sandbox",
     .about = "Deletes a sandbox with its files. Its snapshots stay.",
     .handler = DeleteSandbox,
     .destructive = true,
     .all_only = true},
};

}  // namespace

std::span<const Tool> SandboxTools() { return kTools; }

}  // namespace atl::api::mcp
