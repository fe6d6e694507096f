// SPDX-License-Identifier: Apache-2.0
#include "api/v1/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "api/v1/answers/files.h"
#include "api/v1/byte_range.h"
#include "api/v1/content_type.h"
#include "api/v1/file_json.h"

namespace atl::api {
namespace {

constexpr size_t kUploadBytes = 1U << 20U;
constexpr size_t kSniffBytes = 1024;

std::string HttpTime(int64_t unix_ms) {
  std::time_t seconds = unix_ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  size_t size = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text, size};
}

std::string EntityTag(const sandbox::FileInfo& info) {
  return fmt::format("\"{:x}-{:x}-{:x}\"", info.mtime_ns, info.size, info.inode);
}

bool Matches(std::string_view list, std::string_view tag) {
  return http::Trim(list) == "*" || http::ListContains(list, tag) ||
         http::ListContains(list, fmt::format("W/{}", tag));
}

// What is asked for of a file, as a status, and the fields that say so.
struct Selection {
  Span span;
  int status = 200;
};

Result<Selection> Select(const http::RequestHead& request, const sandbox::FileInfo& info,
                         bool sized, http::Headers& headers) {
  ASSIGN(std::optional<uint64_t> offset, QueryNumber(request, "offset"));
  ASSIGN(std::optional<uint64_t> length, QueryNumber(request, "length"));
  Selection chosen{.span = {.offset = offset.value_or(0), .length = length.value_or(UINT64_MAX)}};
  if (!sized) return chosen;
  chosen.span.offset = std::min(chosen.span.offset, info.size);
  chosen.span.length = std::min(chosen.span.length, info.size - chosen.span.offset);
  auto range = request.headers.Get("Range");
  auto only_if = request.headers.Get("If-Range");
  if (!range || offset || length || (only_if && *only_if != EntityTag(info))) return chosen;
  std::optional<Span> wanted = ParseRange(*range, info.size);
  if (!wanted) return chosen;
  if (wanted->length == 0) {
    return Selection{.span = {}, .status = 416};
  }
  headers.Set("Content-Range", fmt::format("bytes {}-{}/{}", wanted->offset,
                                           wanted->offset + wanted->length - 1, info.size));
  return Selection{.span = *wanted, .status = 206};
}

// A failure in the middle cuts the connection: nobody shall take a part for the whole.
async::Task<> Pump(sandbox::FileReader& reader, http::Exchange& exchange) {
  while (true) {
    Result<std::string_view> piece = co_await reader.Next();
    if (!piece) break;
    Result<void> sent;
    if (piece->empty()) {
      sent = co_await exchange.Finish();
      if (sent) co_return;
    } else {
      sent = co_await exchange.Write(*piece);
    }
    if (!sent) break;
  }
  exchange.Abort();
}

async::Task<> RespondHead(http::Exchange& exchange, http::ResponseHead head) {
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

async::Task<> Send(std::string path, sandbox::FileReader& reader, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  const sandbox::FileInfo& info = reader.info();
  http::ResponseHead head;
  AddContentPolicy(head);
  if (reader.sized()) {
    head.headers.Set("ETag", EntityTag(info));
    head.headers.Set("Last-Modified", HttpTime(sandbox::ModifiedMs(info)));
    head.headers.Set("Accept-Ranges", "bytes");
  }
  head.headers.Set("Cache-Control", "no-cache");
  auto known = request.headers.Get("If-None-Match");
  if (known && reader.sized() && Matches(*known, EntityTag(info))) {
    head.status = 304;
    co_await RespondHead(exchange, std::move(head));
    co_return;
  }
  Result<Selection> chosen = Select(request, info, reader.sized(), head.headers);
  if (!chosen) {
    co_await http::RespondError(exchange, std::move(chosen).error());
    co_return;
  }
  head.status = chosen->status;
  if (head.status == 416) {
    co_await RespondNoRange(exchange, info.size);
    co_return;
  }
  std::string_view type = ContentTypeOf(path);
  if (type.empty()) {
    Result<std::string> begin = co_await reader.Peek(kSniffBytes);
    type = begin ? ContentTypeOfBytes(*begin) : "application/octet-stream";
  }
  head.headers.Set("Content-Type", std::string(type));
  if (QueryFlag(request, "download")) head.headers.Set("Content-Disposition", Attachment(path));
  if (reader.sized()) head.headers.Set("Content-Length", fmt::to_string(chosen->span.length));
  reader.SetRange(chosen->span.offset, chosen->span.length);
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (!begun) {
    exchange.Abort();
  } else if (request.method == "HEAD") {
    Result<void> finished = co_await exchange.Finish();
    (void)finished;  // the client has gone away
  } else {
    co_await Pump(reader, exchange);
  }
}

async::Task<> Read(const Services& services, Values values, http::Exchange& exchange) {
  std::string path = "/" + values.at(1);
  auto sandbox = co_await AcquireFor(services, std::move(values[0]), exchange);
  if (!sandbox) {
    co_await http::RespondError(exchange, std::move(sandbox).error());
    co_return;
  }
  sandbox::ReadFile request{.path = path, .user = Query(exchange.request(), "user")};
  auto reader = co_await sandbox::OpenFile((*sandbox)->agent(), services.registry.streams(),
                                           std::move(request));
  if (!reader) {
    co_await http::RespondError(exchange, std::move(reader).error());
    co_return;
  }
  co_await Send(std::move(path), **reader, exchange);
}

Result<sandbox::WriteFile> ParseWrite(std::string path, const http::RequestHead& head) {
  sandbox::WriteFile request{.path = std::move(path), .user = Query(head, "user")};
  std::string mode = Query(head, "mode");
  if (!mode.empty()) {
    ASSIGN(request.mode, ParseMode(mode));
    request.set_mode = true;
  }
  request.parents = QueryFlag(head, "parents");
  request.append = QueryFlag(head, "append");
  auto known = head.headers.Get("If-None-Match");
  request.exclusive = known && http::Trim(*known) == "*";
  return request;
}

// Whole pieces: a write costs a change of threads.
async::Task<Result<size_t>> FillFrom(http::Exchange& exchange, std::span<char> buffer) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    CO_ASSIGN(size_t count, co_await exchange.ReadSome(buffer.subspan(filled)));
    if (count == 0) break;
    filled += count;
  }
  co_return filled;
}

struct Written {
  sandbox::FileInfo info;
  bool existed = false;
};

async::Task<Result<Written>> Receive(const Services& services, std::string id, std::string path,
                                     http::Exchange& exchange) {
  CO_ASSIGN(sandbox::WriteFile request, ParseWrite(std::move(path), exchange.request()));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  std::string owner = Query(exchange.request(), "owner");
  CO_ASSIGN(auto writer, co_await sandbox::CreateFile(sandbox->agent(), services.registry.streams(),
                                                      std::move(request), std::move(owner)));
  const http::RequestHead& head = exchange.request();
  bool small = head.framing == http::Framing::kLength && head.content_length < kUploadBytes;
  std::vector<char> buffer(small ? head.content_length + 1 : kUploadBytes);
  while (true) {
    CO_ASSIGN(size_t count, co_await FillFrom(exchange, buffer));
    if (count > 0) {
      CO_TRY(co_await writer->Write(std::string_view(buffer.data(), count)));
    }
    if (count < buffer.size()) break;
  }
  CO_ASSIGN(sandbox::FileInfo info, co_await writer->Commit());
  co_return Written{.info = std::move(info), .existed = writer->existed()};
}

async::Task<> Write(const Services& services, Values values, http::Exchange& exchange) {
  std::string path = "/" + values.at(1);
  Result<Written> written = co_await Receive(services, std::move(values[0]), path, exchange);
  if (!written) {
    co_await http::RespondError(exchange, std::move(written).error());
    co_return;
  }
  std::string json = FileJson(path, written->info);
  Result<void> sent =
      co_await http::RespondJson(exchange, written->existed ? 200 : 201, std::move(json));
  (void)sent;  // the client has gone away
}

async::Task<Result<void>> RemoveAt(const Services& services, std::string id, std::string path,
                                   http::Exchange& exchange) {
  sandbox::RemoveFile request{.path = std::move(path),
                              .user = Query(exchange.request(), "user"),
                              .recursive = QueryFlag(exchange.request(), "recursive")};
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<void> removed = co_await sandbox::Remove(sandbox->agent(), std::move(request));
  co_return removed;
}

async::Task<> Delete(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> removed =
      co_await RemoveAt(services, std::move(values.at(0)), "/" + values.at(1), exchange);
  if (!removed) {
    co_await http::RespondError(exchange, std::move(removed).error());
    co_return;
  }
  co_await RespondNothing(exchange);
}

constexpr Field kUser{.name = "user", .about = "As whom; root when it is not there."};
constexpr Field kReadHeaders[] = {
    {.name = "Range", .about = "bytes=0-99, bytes=100- or bytes=-100; one range."},
    {.name = "If-Range", .about = "The ETag of what the range is of."},
    {.name = "If-None-Match", .about = "The ETag of what is known: 304 when it still is that."},
};
constexpr Field kWriteHeaders[] = {
    {.name = "If-None-Match", .about = "\"*\": only a file that is not there."}};
constexpr Field kReadAnswer[] = {
    {.name = "ETag", .about = "Of the content as it is."},
    {.name = "Last-Modified", .about = "When it was."},
    kRangeAnswer[0],
    kRangeAnswer[1],
};
constexpr std::string_view kAnyType[] = {"*/*"};
constexpr int kReadStatuses[] = {206, 304};
constexpr int kWriteStatuses[] = {201};
constexpr Field kReadQuery[] = {
    {.name = "offset", .kind = Kind::kInteger, .about = "The first byte.", .min = 0},
    {.name = "length", .kind = Kind::kInteger, .about = "How many.", .min = 0},
    {.name = "download", .kind = Kind::kBoolean, .about = "With a name to save under."},
    kUser,
};
constexpr Field kWriteQuery[] = {
    {.name = "mode", .about = "Octal; that of the file as it was, or 0644."},
    {.name = "owner",
     .about =
         "Whom it belongs to, \"user\", \"user:group\" or \":group\"; as whom it is written when "
         "it is new and this is not there."},
    {.name = "parents", .kind = Kind::kBoolean, .about = "Make the directories that are missing."},
    {.name = "append", .kind = Kind::kBoolean, .about = "To the end of what is there."},
    kUser,
};
constexpr Field kDeleteQuery[] = {
    {.name = "recursive", .kind = Kind::kBoolean, .about = "A directory with all that is in it."},
    kUser,
};

constexpr std::string_view kPattern = "/v1/sandboxes/{id}/files/{path...}";
constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = kPattern,
     .operation = "readFile",
     .summary = "The content of a file, or a range of it; the path begins at the root.",
     .handler = Read,
     .answer = Media::kOctets,
     .media = kAnyType,
     .answer_headers = kReadAnswer,
     .query = kReadQuery,
     .headers = kReadHeaders,
     .statuses = kReadStatuses},
    {.method = "PUT",
     .pattern = kPattern,
     .operation = "writeFile",
     .summary = "Makes or replaces a file: 201 for a new one.",
     .handler = Write,
     .returns = &answers::kFile,
     .body = Media::kOctets,
     .query = kWriteQuery,
     .headers = kWriteHeaders,
     .statuses = kWriteStatuses},
    {.method = "DELETE",
     .pattern = kPattern,
     .operation = "deleteFile",
     .summary = "Removes a file, or with `recursive` a directory.",
     .handler = Delete,
     .answer = Media::kNone,
     .query = kDeleteQuery},
};

}  // namespace

std::span<const Route> FileRoutes() { return kRoutes; }

}  // namespace atl::api
