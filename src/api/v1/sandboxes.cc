// SPDX-License-Identifier: Apache-2.0
#include "api/v1/sandboxes.h"

#include <optional>
#include <utility>

#include "api/seed/fork.h"
#include "api/seed/output_events.h"
#include "api/seed/snapshots.h"
#include "api/v1/answers/commands.h"
#include "api/v1/answers/sandboxes.h"
#include "api/v1/answers/snapshots.h"
#include "api/v1/lifecycle.h"
#include "api/v1/snapshots.h"
#include "api/v1/usage.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

constexpr uint64_t kMostListed = 100'000;

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
  if (info.state == sandbox::State::kStopped) writer.Field("memoryKept", info.memory_kept);
  if (!info.failure.empty()) writer.Field("failure", info.failure);
  writer.EndObject();
}

// In the order of their ids; all of them unless there is a limit.
async::Task<> List(const Services& services, Values /*values*/, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Result<uint64_t> limit = QueryNumber(request, "limit", kMostListed, kMostListed);
  if (!limit) {
    co_await http::RespondError(exchange, std::move(limit).error());
    co_return;
  }
  std::string after = Query(request, "cursor");
  json::Writer writer;
  writer.BeginObject().Key("sandboxes").BeginArray();
  uint64_t count = 0;
  std::string last;
  bool more = false;
  for (const sandbox::Info& info : services.registry.List()) {
    if (!after.empty() && info.id <= after) continue;
    more = count == *limit;
    if (more) break;
    WriteSandbox(writer, services, info, request);
    last = info.id;
    ++count;
  }
  writer.EndArray();
  if (more) writer.Field("cursor", last);
  writer.EndObject();
  co_await RespondResult(exchange, writer.Take());
}

// A key that was used before gives the sandbox that it gave then, as long as that exists.
Result<std::string> NewIdFor(const json::Object& body, const http::RequestHead& request) {
  ASSIGN(std::optional<std::string> id, body.OptionalText("id"));
  ASSIGN(std::string key, IdempotencyKey(request));
  if (!id) return sandbox::NewId(key);
  TRY(sandbox::ValidateId(*id));
  return *std::move(id);
}

async::Task<> New(const Services& services, Values /*values*/, http::Exchange& exchange) {
  Result<std::string> text = co_await exchange.ReadBody(kMaxBodyBytes);
  Result<json::Object> body = Fail(Code::kInternal, "the body has not been read");
  if (text) body = json::Object::Parse(*text, true);
  Result<std::string> id = Fail(Code::kInternal, "there is no body");
  if (body) id = NewIdFor(*body, exchange.request());
  if (!text || !body || !id) {
    Error error = !text ? text.error() : !body ? body.error() : id.error();
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  co_await CreateFrom(services, *std::move(id), *std::move(body), exchange);
}

async::Task<> Show(const Services& services, Values values, http::Exchange& exchange) {
  std::optional<sandbox::Info> info = services.registry.Find(values[0]);
  if (!info) {
    co_await http::RespondError(exchange, sandbox::NoSuchSandbox(values[0]));
    co_return;
  }
  json::Writer writer;
  WriteSandbox(writer, services, *info, exchange.request());
  co_await RespondResult(exchange, writer.Take());
}

async::Task<> Patch(const Services& services, Values values, http::Exchange& exchange) {
  Result<sandbox::Info> changed = co_await Change(services, std::move(values[0]), exchange);
  if (!changed) {
    co_await http::RespondError(exchange, std::move(changed).error());
    co_return;
  }
  json::Writer writer;
  WriteSandbox(writer, services, *changed, exchange.request());
  co_await RespondResult(exchange, writer.Take());
}

// Who commands every sandbox may copy from one to another.
async::Task<> RestoreNamed(const Services& services, Values values, http::Exchange& exchange) {
  return Restore(services, std::move(values.at(0)), std::move(values.at(1)), true, exchange);
}

constexpr Field kSleepAfter{.name = "sleepAfter",
                            .kind = Kind::kAny,
                            .about = "Seconds, or text as \"10m\", without use until it sleeps."};
constexpr Field kStopAfter{.name = "stopAfter",
                           .kind = Kind::kAny,
                           .about = "The same, asleep, until it is saved and stopped."};
constexpr Field kKeepAlive{
    .name = "keepAlive", .kind = Kind::kBoolean, .about = "It neither sleeps nor stops by itself."};
constexpr Field kSnapshots{
    .name = "snapshots",
    .kind = Kind::kObject,
    .about = "When it is saved by itself: onStop, onStart, interval, paths."};
constexpr Field kOpencode{
    .name = "opencode",
    .kind = Kind::kBoolean,
    .about = "true: answer when OpenCode is healthy; false: do not start it."};

constexpr Field kNewFields[] = {
    {.name = "id", .about = "Its id; a new one when it is not there."},
    kOpencode,
    {.name = "image", .about = "The image that it is made of."},
    {.name = "memory", .kind = Kind::kBytes, .about = "The most memory that its programs have."},
    {.name = "cpus", .kind = Kind::kNumber, .about = "CPUs.", .min = 0, .max = 1024},
    {.name = "pids", .kind = Kind::kInteger, .about = "Processes.", .min = 1, .max = 4'194'304},
    {.name = "disk", .kind = Kind::kBytes, .about = "The most that its files take."},
    {.name = "inodes", .kind = Kind::kInteger, .about = "Files.", .min = 0, .max = 4'294'967'295},
    {.name = "weight",
     .kind = Kind::kInteger,
     .about = "Its share of a busy host; 100 is usual.",
     .min = 1,
     .max = 10'000},
    {.name = "wait",
     .kind = Kind::kAny,
     .about = "true, or seconds: wait for room when the host has none."},
    {.name = "env", .kind = Kind::kTextMap, .about = "The environment of what runs in it."},
    kSnapshots,
    kSleepAfter,
    kStopAfter,
    kKeepAlive,
};
// A path that has an id needs none in the body.
constexpr auto kCreateFields = std::span(kNewFields).subspan(1);
constexpr Field kPatchFields[] = {kSleepAfter, kStopAfter, kKeepAlive, kSnapshots};
constexpr Field kStopFields[] = {
    {.name = "keepMemory",
     .kind = Kind::kBoolean,
     .about = "What runs goes on at the next start, where it was. It needs CRIU on the host."}};
constexpr Field kForkFields[] = {
    {.name = "id", .about = "The id of the copy; a new one when it is not there."},
    {.name = "count",
     .kind = Kind::kInteger,
     .about = "How many.",
     .min = 1,
     .max = sandbox::kMostForks},
    {.name = "memory",
     .kind = Kind::kBoolean,
     .about = "What runs goes on in the copies, too. It needs CRIU on the host."},
    kOpencode,
};
constexpr Field kRunFields[] = {
    {.name = "command", .about = "For bash.", .required = true},
    {.name = "cwd", .about = "/workspace when it is not there."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's."},
    {.name = "timeout",
     .kind = Kind::kInteger,
     .about = "Milliseconds.",
     .min = 1,
     .max = 604'800'000},
};
constexpr Field kSnapshotFields[] = {
    {.name = "dir", .about = "What is saved.", .required = true},
    {.name = "name"},
    {.name = "freeze", .kind = Kind::kBoolean, .about = "Its programs stand still meanwhile."},
    {.name = "ttl", .kind = Kind::kAny, .about = "Seconds, \"3d\" or \"never\"."},
    {.name = "tags", .kind = Kind::kTextList},
    {.name = "exclude",
     .kind = Kind::kTextList,
     .about = "Absolute paths of what is left out, with what is in it."},
};
constexpr Field kRestoreFields[] = {
    {.name = "dir", .about = "Where to; where it was saved when it is not there."},
    {.name = "from", .about = "A directory of the snapshot."},
    {.name = "mode", .about = "\"replace\", or \"merge\": keep what the snapshot does not have."},
};
constexpr Field kSleepFields[] = {
    {.name = "force", .kind = Kind::kBoolean, .about = "Even when it is in use."},
};
constexpr Field kListQuery[] = {
    {.name = "limit",
     .kind = Kind::kInteger,
     .about = "At most so many.",
     .min = 1,
     .max = kMostListed},
    {.name = "cursor", .about = "Of the answer before."},
};
constexpr Field kEventQuery[] = {
    {.name = "after", .kind = Kind::kInteger, .about = "What came later than that one.", .min = 0},
    {.name = "follow", .kind = Kind::kBoolean, .about = "A stream that goes on."},
};

constexpr Field kNewHeaders[] = {
    {.name = "Idempotency-Key",
     .about = "The same key gives the same sandbox, while there is one."}};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes",
     .operation = "listSandboxes",
     .summary = "Every sandbox, by id.",
     .handler = List,
     .returns = &answers::kSandboxList,
     .query = kListQuery},
    {.method = "POST",
     .pattern = "/v1/sandboxes",
     .operation = "newSandbox",
     .summary = "Makes a sandbox. The same Idempotency-Key gives the same one.",
     .handler = New,
     .returns = &answers::kCreated,
     .body = Media::kJson,
     .fields = kNewFields,
     .headers = kNewHeaders},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}",
     .operation = "getSandbox",
     .summary = "One sandbox.",
     .handler = Show,
     .returns = &answers::kSandbox},
    {.method = "PATCH",
     .pattern = "/v1/sandboxes/{id}",
     .operation = "updateSandbox",
     .summary = "Changes what it does by itself.",
     .handler = Patch,
     .returns = &answers::kSandbox,
     .body = Media::kJson,
     .fields = kPatchFields},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}",
     .operation = "deleteSandbox",
     .summary = "Ends it and removes its files; its snapshots stay.",
     .handler = OfSandbox<Delete>,
     .answer = Media::kNone},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/create",
     .operation = "createSandbox",
     .summary = "Makes it if there is none of this id; starts it if it is stopped.",
     .handler = OfSandbox<Create>,
     .returns = &answers::kCreated,
     .body = Media::kJson,
     .fields = kCreateFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fork",
     .operation = "forkSandbox",
     .summary = "New sandboxes with its files and conversations.",
     .handler = OfSandbox<Fork>,
     .returns = &answers::kForked,
     .body = Media::kJson,
     .fields = kForkFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/run",
     .operation = "runCommand",
     .summary = "Runs a command; its output comes as events.",
     .handler = OfSandbox<Run>,
     .answer = Media::kEvents,
     .streams = &answers::kRunEvent,
     .body = Media::kJson,
     .fields = kRunFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/snapshot",
     .operation = "createSnapshot",
     .summary = "Saves a directory; answers when it is durable.",
     .handler = OfSandbox<Snapshot>,
     .answer = Media::kEvents,
     .returns = &answers::kTaken,
     .streams = &answers::kSnapshotEvent,
     .body = Media::kJson,
     .fields = kSnapshotFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/restore/{snapshotId}",
     .operation = "restoreSnapshot",
     .summary = "Puts the files of a snapshot into it, any sandbox's.",
     .handler = RestoreNamed,
     .answer = Media::kEvents,
     .returns = &answers::kRestored,
     .streams = &answers::kRestoreEvent,
     .body = Media::kJson,
     .fields = kRestoreFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/stop",
     .operation = "stopSandbox",
     .summary = "Saves it and ends its programs; its files stay.",
     .handler = OfSandbox<Stop>,
     .returns = &answers::kStopped,
     .body = Media::kJson,
     .fields = kStopFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/sleep",
     .operation = "sleepSandbox",
     .summary = "Its programs stand still until it is used.",
     .handler = OfSandbox<Sleep>,
     .returns = &answers::kState,
     .body = Media::kJson,
     .fields = kSleepFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/wake",
     .operation = "wakeSandbox",
     .summary = "Its programs go on.",
     .handler = OfSandbox<Wake>,
     .returns = &answers::kState},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/usage",
     .operation = "getUsage",
     .summary = "What it uses now, has used in ten minutes, and may use.",
     .handler = OfSandbox<RespondUsage>,
     .returns = &answers::kUsageReport},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/events",
     .operation = "listEvents",
     .summary = "What happened to it and why.",
     .handler = OfSandbox<Events>,
     .answer = Media::kEvents,
     .returns = &answers::kEventList,
     .streams = &answers::kEvent,
     .query = kEventQuery,
     .headers = kLastEventId},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/snapshots",
     .operation = "listSandboxSnapshots",
     .summary = "Its snapshots, newest first.",
     .handler = OfSandbox<ListSnapshotsOf>,
     .returns = &answers::kSnapshotList,
     .query = kSnapshotQuery},
};

}  // namespace

std::span<const Route> SandboxRoutes() { return kRoutes; }

}  // namespace atl::api
