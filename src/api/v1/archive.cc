// SPDX-License-Identifier: Apache-2.0
#include "api/v1/archive.h"

#include <utility>

#include "api/v1/answers/files.h"
#include "api/v1/file_json.h"
#include "api/v1/pieces.h"
#include "sandbox/archives.h"

namespace atl::api {
namespace {

constexpr size_t kUploadBytes = 256U << 10U;

std::string PathOf(const http::RequestHead& request) {
  std::string path = Query(request, "path");
  return path.empty() ? "/workspace" : path;
}

Result<sandbox::ArchiveFormat> FormatOf(const http::RequestHead& request) {
  std::string format = Query(request, "format");
  if (format.empty() || format == "tar") return sandbox::ArchiveFormat::kTar;
  if (format == "tar.zst") return sandbox::ArchiveFormat::kTarZstd;
  return Fail(Code::kInvalidArgument, R"("format" must be "tar" or "tar.zst")",
              "VALIDATION_FAILED");
}

struct Packing {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is packed
  std::unique_ptr<sandbox::ArchiveReader> reader;
  std::string_view first;
  http::ResponseHead head;
};

async::Task<Result<Packing>> BeginPacking(const Services& services, std::string id,
                                          http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Packing packing;
  CO_ASSIGN(sandbox::ArchiveFormat format, FormatOf(request));
  sandbox::PackFiles what{.path = PathOf(request),
                          .user = Query(request, "user"),
                          .exclude = SplitList(Query(request, "exclude"))};
  bool plain = format == sandbox::ArchiveFormat::kTar;
  AddContentPolicy(packing.head);
  packing.head.headers.Set("Content-Type", plain ? "application/x-tar" : "application/zstd");
  packing.head.headers.Set("Content-Disposition",
                           Attachment(what.path, plain ? ".tar" : ".tar.zst"));
  packing.head.headers.Set("Cache-Control", "no-store");
  CO_ASSIGN(packing.sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(packing.reader,
            co_await sandbox::Pack(packing.sandbox->agent(), services.registry.streams(),
                                   std::move(what), format));
  // What cannot be packed at all is worth a status.
  CO_ASSIGN(packing.first, co_await packing.reader->Next());
  co_return packing;
}

async::Task<> GetArchive(const Services& services, Values values, http::Exchange& exchange) {
  Result<Packing> packing = co_await BeginPacking(services, std::move(values.at(0)), exchange);
  if (!packing) {
    co_await http::RespondError(exchange, std::move(packing).error());
    co_return;
  }
  Result<void> begun = co_await exchange.StartResponse(std::move(packing->head));
  if (!begun) {
    exchange.Abort();
  } else if (exchange.request().method == "HEAD") {
    Result<void> finished = co_await exchange.Finish();
    (void)finished;  // the client has gone away
  } else {
    co_await SendPieces(*packing->reader, packing->first, exchange);
  }
}

Result<sandbox::UnpackFiles> ParseUnpack(const http::RequestHead& request) {
  sandbox::UnpackFiles what{.path = PathOf(request), .user = Query(request, "user")};
  what.any_links = Query(request, "links") == "any";
  what.keep_owners = Query(request, "owners") != "none";
  ASSIGN(auto max_bytes, QueryNumber(request, "maxBytes"));
  ASSIGN(auto max_entries, QueryNumber(request, "maxEntries"));
  if (max_bytes) what.max_bytes = *max_bytes;
  if (max_entries) what.max_entries = std::min(*max_entries, what.max_entries);
  return what;
}

async::Task<Result<std::string>> DoUnpack(const Services& services, std::string id,
                                          http::Exchange& exchange) {
  CO_ASSIGN(sandbox::UnpackFiles what, ParseUnpack(exchange.request()));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(auto writer, co_await sandbox::Unpack(sandbox->agent(), services.registry.streams(),
                                                  std::move(what)));
  std::vector<char> buffer(kUploadBytes);
  while (true) {
    CO_ASSIGN(size_t count, co_await exchange.ReadSome(buffer));
    if (count == 0) break;
    CO_TRY(co_await writer->Write(std::string_view(buffer.data(), count)));
  }
  CO_ASSIGN(sandbox::ArchiveTotals totals, co_await writer->Finish());
  json::Writer json;
  json.BeginObject().Field("entries", totals.entries).Field("bytes", totals.bytes).EndObject();
  co_return json.Take();
}

async::Task<> PutArchive(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoUnpack(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

constexpr Field kPath{
    .name = "path", .kind = Kind::kPath, .about = "A directory; /workspace when it is not there."};
constexpr Field kUser{.name = "user", .about = "As whom; root when it is not there."};
constexpr std::string_view kFormats[] = {"tar", "tar.zst"};
constexpr std::string_view kArchiveTypes[] = {"application/x-tar", "application/zstd"};
constexpr std::string_view kLinks[] = {"inside", "any"};
constexpr std::string_view kOwners[] = {"keep", "none"};
constexpr Field kGetQuery[] = {
    kPath,
    {.name = "exclude",
     .kind = Kind::kPath,
     .about = "Globs of names, or of paths when they have a slash, by comma."},
    {.name = "format", .about = "\"tar\" (usual) or \"tar.zst\".", .choices = kFormats},
    kUser,
};
constexpr Field kPutQuery[] = {
    kPath,
    {.name = "links",
     .about = "\"any\": symlinks that lead out too, not only those that stay \"inside\".",
     .choices = kLinks},
    {.name = "owners",
     .about = "\"none\": everything becomes that of the user; \"keep\" is usual.",
     .choices = kOwners},
    {.name = "maxBytes", .kind = Kind::kInteger, .about = "Of what is unpacked.", .min = 0},
    {.name = "maxEntries", .kind = Kind::kInteger, .about = "At most 1,000,000.", .min = 0},
    kUser,
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/archive",
     .operation = "packFiles",
     .summary = "A directory as a tar.",
     .handler = GetArchive,
     .answer = Media::kOctets,
     .media = kArchiveTypes,
     .query = kGetQuery},
    {.method = "PUT",
     .pattern = "/v1/sandboxes/{id}/archive",
     .operation = "unpackFiles",
     .summary = "Unpacks a tar into a directory.",
     .handler = PutArchive,
     .returns = &answers::kUnpacked,
     .body = Media::kOctets,
     .query = kPutQuery},
};

}  // namespace

std::span<const Route> ArchiveRoutes() { return kRoutes; }

}  // namespace atl::api
