// SPDX-License-Identifier: Apache-2.0
#include "api/v1/snapshots.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <ranges>
#include <utility>

#include "api/v1/answers/snapshots.h"
#include "api/v1/file_json.h"
#include "api/v1/snapshot_content.h"
#include "api/v1/snapshot_json.h"
#include "base/clock.h"
#include "json/reader.h"
#include "snapshot/policy.h"

namespace atl::api {
namespace {

using repository::SnapshotRecord;

constexpr uint64_t kPage = 100;
constexpr uint64_t kMostPerPage = 1000;
constexpr uint64_t kDiffPage = 1000;
constexpr uint64_t kMostDiff = 100'000;
// What another daemon or restic has changed is seen this late at most.
constexpr std::chrono::milliseconds kListAge{1000};

struct Filter {
  std::string sandbox;
  std::string dir;
  std::string name;
  std::string trigger;
  std::string tag;
};

bool Matches(const Filter& filter, const SnapshotRecord& record) {
  repository::Tags tags = record.decoded_tags();
  auto is = [](const std::string& wanted, std::string_view value) {
    return wanted.empty() || wanted == value;
  };
  std::string_view dir = tags.dir;
  if (dir.empty() && !record.paths.empty()) dir = record.paths[0];
  return is(filter.sandbox, tags.sandbox) && is(filter.dir, dir) && is(filter.name, tags.name) &&
         is(filter.trigger, repository::TriggerName(tags.trigger)) &&
         (filter.tag.empty() || std::ranges::find(tags.labels, filter.tag) != tags.labels.end());
}

// A place in the order of the list, whether or not a snapshot is still there.
std::string CursorOf(const SnapshotRecord& record) {
  return fmt::format("{:020}.{:09}.{}", record.time.seconds, record.time.nanos, record.file.Hex());
}

// Newest first, behind the place that `cursor` names.
std::string ListJson(const std::vector<SnapshotRecord>& all, const Filter& filter, uint64_t limit,
                     const std::string& cursor) {
  json::Writer writer;
  writer.BeginObject().Key("snapshots").BeginArray();
  uint64_t count = 0;
  std::string last;
  std::string next;
  for (const SnapshotRecord& record : std::views::reverse(all)) {
    std::string place = CursorOf(record);
    if ((!cursor.empty() && place >= cursor) || !Matches(filter, record)) continue;
    if (count == limit) {
      next = last;
      break;
    }
    WriteSnapshot(writer, record);
    last = std::move(place);
    ++count;
  }
  writer.EndArray();
  if (!next.empty()) writer.Field("cursor", next);
  writer.EndObject();
  return writer.Take();
}

async::Task<Result<std::string>> DoList(const Services& services, Filter filter,
                                        const http::RequestHead& request) {
  CO_ASSIGN(uint64_t limit, QueryNumber(request, "limit", kPage, kMostPerPage));
  std::string cursor = Query(request, "cursor");
  auto list = [&]() -> Result<std::string> {
    ASSIGN(snapshot::Vault::Repo repository, services.registry.vault().GetFresh(kListAge));
    return ListJson(repository->Snapshots(), filter, limit, cursor);
  };
  Result<std::string> json = co_await services.registry.transfers().Run(list);
  co_return json;
}

// What one of the routes below makes of a snapshot; runs where blocking is allowed.
using OnSnapshot = std::function<Result<std::string>(repository::Repository& repository,
                                                     const SnapshotRecord& record)>;

async::Task<Result<std::string>> WithSnapshot(const Services& services, std::string id,
                                              OnSnapshot on_snapshot) {
  auto run = [&]() -> Result<std::string> {
    ASSIGN(auto found, FindSnapshot(services, id));
    return on_snapshot(*found.repository, found.record);
  };
  Result<std::string> json = co_await services.registry.transfers().Run(run);
  co_return json;
}

Result<std::string> ShowJson(repository::Repository& /*repository*/, const SnapshotRecord& record) {
  json::Writer writer;
  WriteSnapshot(writer, record);
  return writer.Take();
}

Result<std::string> DiffJson(const Services& services, const std::string& to, uint64_t limit,
                             repository::Repository& repository, const SnapshotRecord& record) {
  ASSIGN(auto other, FindSnapshot(services, to));
  ASSIGN(snapshot::Diff diff, snapshot::Compare(repository, record, other.record, limit));
  json::Writer writer;
  writer.BeginObject().Field("from", record.id().Hex()).Field("to", other.record.id().Hex());
  WriteDiff(writer, diff);
  writer.EndObject();
  return writer.Take();
}

Result<std::string> TreeJson(const std::string& path, const std::string& after, uint64_t limit,
                             repository::Repository& repository, const SnapshotRecord& record) {
  ASSIGN(snapshot::Listing listing, snapshot::List(repository, record, path, after, limit));
  json::Writer writer;
  writer.BeginObject().Field("snapshotId", record.id().Hex()).Field("path", path);
  writer.Key("node");
  WriteNode(writer, listing.node);
  writer.Key("entries").BeginArray();
  for (const repository::Node& node : listing.nodes) WriteNode(writer, node);
  writer.EndArray();
  if (!listing.next.empty()) writer.Field("cursor", listing.next);
  writer.EndObject();
  return writer.Take();
}

Result<void> ApplyPatch(const json::Object& body, repository::Tags& tags) {
  ASSIGN(std::optional<std::string> name, body.OptionalText("name"));
  ASSIGN(auto labels, body.OptionalTextList("tags"));
  ASSIGN(std::optional<bool> pinned, body.OptionalBool("pinned"));
  ASSIGN(std::optional<std::string> ttl, body.OptionalText("ttl"));
  if (name) tags.name = *name;
  if (labels) tags.labels = std::move(*labels);
  if (pinned) tags.pinned = *pinned;
  if (ttl) {
    ASSIGN(auto parsed, snapshot::ParseTtl(*ttl));
    tags.expires_at.reset();
    if (parsed) tags.expires_at = NowSeconds() + parsed->count();
  }
  return {};
}

// Two who change one snapshot take turns, so that none writes back what the other has changed.
std::mutex& EditMutex() {
  static std::mutex mutex;
  return mutex;
}

Result<std::string> PatchJson(const json::Object& body, repository::Repository& repository,
                              const SnapshotRecord& seen) {
  std::lock_guard turn(EditMutex());
  ASSIGN(auto lock, repository.LockShared());
  ASSIGN(SnapshotRecord record, repository.FindSnapshot(seen.id().Hex()));
  repository::Tags tags = record.decoded_tags();
  TRY(ApplyPatch(body, tags));
  TRY(sandbox::ValidateTags(tags));
  std::vector<std::string> encoded = repository::EncodeTags(tags);
  if (encoded == record.tags) return ShowJson(repository, record);
  ASSIGN(SnapshotRecord changed, repository.Retag(record, std::move(encoded)));
  return ShowJson(repository, changed);
}

async::Task<> Remove(const Services& services, std::string id, http::Exchange& exchange) {
  OnSnapshot remove = [](repository::Repository& repository,
                         const SnapshotRecord& record) -> Result<std::string> {
    std::lock_guard turn(EditMutex());
    ASSIGN(auto lock, repository.LockShared());
    // All editions: one that a change of tags left behind would come back in its place.
    for (const SnapshotRecord& edition : repository.Snapshots()) {
      if (edition.id() != record.id()) continue;
      if (edition.decoded_tags().pinned) {
        return Fail(Code::kFailedPrecondition, "the snapshot is pinned: unpin it first",
                    "SNAPSHOT_PINNED");
      }
      TRY(repository.RemoveSnapshot(edition.file));
    }
    return std::string();
  };
  Result<std::string> removed = co_await WithSnapshot(services, std::move(id), std::move(remove));
  if (!removed) {
    co_await http::RespondError(exchange, std::move(removed).error());
    co_return;
  }
  http::ResponseHead head;
  head.status = 204;
  head.headers.Add("Cache-Control", "no-store");
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

// Wrong fields are refused whether or not there is such a snapshot.
async::Task<Result<json::Object>> ReadPatch(http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  repository::Tags tags;
  CO_TRY(ApplyPatch(body, tags));
  co_return body;
}

async::Task<> Patch(const Services& services, std::string id, http::Exchange& exchange) {
  Result<json::Object> body = co_await ReadPatch(exchange);
  if (!body) {
    co_await http::RespondError(exchange, std::move(body).error());
    co_return;
  }
  OnSnapshot patch = [&body](repository::Repository& repository, const SnapshotRecord& record) {
    return PatchJson(*body, repository, record);
  };
  Result<std::string> json = co_await WithSnapshot(services, std::move(id), std::move(patch));
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> Read(const Services& services, std::string id, OnSnapshot on_snapshot,
                   http::Exchange& exchange) {
  Result<std::string> json = co_await WithSnapshot(services, std::move(id), std::move(on_snapshot));
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> Show(const Services& services, Values values, http::Exchange& exchange) {
  co_await Read(services, std::move(values[0]), ShowJson, exchange);
}

async::Task<> ShowDiff(const Services& services, Values values, http::Exchange& exchange) {
  Result<uint64_t> limit = QueryNumber(exchange.request(), "limit", kDiffPage, kMostDiff);
  if (!limit) {
    co_await http::RespondError(exchange, std::move(limit).error());
    co_return;
  }
  OnSnapshot diff = [&services, to = Query(exchange.request(), "to"), limit = *limit](
                        repository::Repository& repository, const SnapshotRecord& record) {
    return DiffJson(services, to, limit, repository, record);
  };
  co_await Read(services, std::move(values[0]), std::move(diff), exchange);
}

async::Task<> ShowTree(const Services& services, Values values, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Result<uint64_t> limit = QueryNumber(request, "limit", kMostPerPage, 10 * kMostPerPage);
  if (!limit) {
    co_await http::RespondError(exchange, std::move(limit).error());
    co_return;
  }
  OnSnapshot tree = [path = Query(request, "path"), after = Query(request, "cursor"),
                     limit = *limit](repository::Repository& repository,
                                     const SnapshotRecord& record) {
    return TreeJson(path, after, limit, repository, record);
  };
  co_await Read(services, std::move(values[0]), std::move(tree), exchange);
}

async::Task<> ListAll(const Services& services, Values /*values*/, http::Exchange& exchange) {
  return ListSnapshotsOf(services, Query(exchange.request(), "sandbox"), exchange);
}

}  // namespace

async::Task<> ListSnapshotsOf(const Services& services, std::string sandbox,
                              http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Filter filter{.sandbox = std::move(sandbox),
                .dir = Query(request, "dir"),
                .name = Query(request, "name"),
                .trigger = Query(request, "trigger"),
                .tag = Query(request, "tag")};
  Result<std::string> json = co_await DoList(services, std::move(filter), request);
  co_await RespondResult(exchange, std::move(json));
}

namespace {

constexpr Field kListQuery[] = {
    {.name = "sandbox", .about = "Of this sandbox."},
    kSnapshotQuery[0],
    kSnapshotQuery[1],
    kSnapshotQuery[2],
    kSnapshotQuery[3],
    kSnapshotQuery[4],
    kSnapshotQuery[5],
};
constexpr Field kPatchFields[] = {
    {.name = "name"},
    {.name = "tags", .kind = Kind::kTextList},
    {.name = "pinned", .kind = Kind::kBoolean, .about = "Kept whatever the rules say."},
    {.name = "ttl", .about = "\"3d\" or \"never\"."},
};
constexpr Field kDiffQuery[] = {
    {.name = "to", .about = "The other snapshot.", .required = true},
    {.name = "limit", .kind = Kind::kInteger, .min = 1, .max = kMostDiff},
};
constexpr Field kTreeQuery[] = {
    {.name = "path", .kind = Kind::kPath, .about = "A directory of the snapshot."},
    {.name = "limit", .kind = Kind::kInteger, .min = 1, .max = 10 * kMostPerPage},
    {.name = "cursor", .kind = Kind::kPath, .about = "Of the answer before."},
};
constexpr Field kFileQuery[] = {
    {.name = "path", .kind = Kind::kPath, .about = "A file of the snapshot.", .required = true},
};
constexpr Field kFileHeaders[] = {
    {.name = "Range", .about = "bytes=0-99, bytes=100- or bytes=-100; one range."}};
constexpr int kFileStatuses[] = {206};
constexpr std::string_view kArchiveType[] = {"application/zstd"};
constexpr Field kArchiveQuery[] = {
    {.name = "presign", .kind = Kind::kBoolean, .about = "Answer an expiring URL."},
    {.name = "valid",
     .kind = Kind::kInteger,
     .about = "Seconds that the URL works.",
     .min = 1,
     .max = kMostValid},
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/snapshots",
     .operation = "listSnapshots",
     .summary = "Every snapshot of the repository, newest first.",
     .handler = ListAll,
     .returns = &answers::kSnapshotList,
     .query = kListQuery},
    {.method = "GET",
     .pattern = "/v1/snapshots/{snapshotId}",
     .operation = "getSnapshot",
     .summary = "One snapshot.",
     .handler = Show,
     .returns = &answers::kSnapshot},
    {.method = "PATCH",
     .pattern = "/v1/snapshots/{snapshotId}",
     .operation = "updateSnapshot",
     .summary = "Changes what it is called and how long it is kept.",
     .handler = OfSandbox<Patch>,
     .returns = &answers::kSnapshot,
     .body = Media::kJson,
     .fields = kPatchFields},
    {.method = "DELETE",
     .pattern = "/v1/snapshots/{snapshotId}",
     .operation = "deleteSnapshot",
     .summary = "Removes it.",
     .handler = OfSandbox<Remove>,
     .answer = Media::kNone},
    {.method = "GET",
     .pattern = "/v1/snapshots/{snapshotId}/diff",
     .operation = "diffSnapshots",
     .summary = "What another snapshot has that this one has not.",
     .handler = ShowDiff,
     .returns = &answers::kDiff,
     .query = kDiffQuery},
    {.method = "GET",
     .pattern = "/v1/snapshots/{snapshotId}/tree",
     .operation = "listSnapshotFiles",
     .summary = "The entries of one of its directories.",
     .handler = ShowTree,
     .returns = &answers::kTree,
     .query = kTreeQuery},
    {.method = "GET",
     .pattern = "/v1/snapshots/{snapshotId}/file",
     .operation = "readSnapshotFile",
     .summary = "The bytes of one of its files; Range is honoured.",
     .handler = OfSandbox<SendFile>,
     .answer = Media::kOctets,
     .answer_headers = kRangeAnswer,
     .query = kFileQuery,
     .headers = kFileHeaders,
     .statuses = kFileStatuses},
    {.method = "GET",
     .pattern = "/v1/snapshots/{snapshotId}/archive",
     .operation = "downloadSnapshot",
     .summary = "All of it as .tar.zst.",
     .handler = OfSandbox<SendArchive>,
     .answer = Media::kOctets,
     .returns = &answers::kPresigned,
     .media = kArchiveType,
     .query = kArchiveQuery},
};

}  // namespace

std::span<const Route> SnapshotRoutes() { return kRoutes; }

}  // namespace atl::api
