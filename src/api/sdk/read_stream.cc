// SPDX-License-Identifier: Apache-2.0
// The content of a file as events. What it is, text or bytes, comes first and cannot be taken back,
// so a file is looked through before, unless it is large: then it goes as bytes, which lose
// nothing.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "api/sdk/file_kind.h"
#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "http/sse.h"
#include "json/utf8.h"
#include "sandbox/files.h"

namespace atl::api::sdk {
namespace {

// A multiple of three, so that what is decoded piece by piece needs no padding in between.
constexpr size_t kChunk = 65'535;
constexpr uint64_t kMostLookedThrough = 256UL << 20U;

using Reader = std::unique_ptr<sandbox::FileReader>;

struct Content {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is read
  Reader reader;
  std::string mime_type;
  bool binary = true;
};

async::Task<Result<Reader>> Open(Call& call, sandbox::Sandbox& sandbox, std::string path) {
  sandbox::ReadFile what{.path = std::move(path), .user = {}};
  Result<Reader> reader = co_await sandbox::OpenFile(
      sandbox.agent(), call.services.registry.streams(), std::move(what));
  co_return reader;
}

// Whether all of it is text.
async::Task<Result<bool>> LookThrough(sandbox::FileReader& reader) {
  std::string rest;
  while (true) {
    CO_ASSIGN(std::string_view piece, co_await reader.Next());
    if (piece.empty()) break;
    rest += piece;
    json::Utf8Scan scan = json::ScanUtf8(rest);
    if (scan.broken || rest.contains('\0')) co_return false;
    rest.erase(0, scan.valid);
  }
  bool whole = rest.empty();
  co_return whole;
}

async::Task<Result<Content>> OpenContent(Call& call) {
  CO_ASSIGN(std::string given, RequiredText(call.body, "path"));
  call.About("path", given);
  CO_TRY(sandbox::AbsolutePath(given));
  CO_ASSIGN(std::string session, SessionOf(call.body));
  Content content;
  CO_ASSIGN(content.sandbox, co_await Use(call));
  CO_ASSIGN(std::string path,
            co_await PathFrom(content.sandbox->agent(), std::move(session), std::move(given)));
  CO_ASSIGN(path, sandbox::AbsolutePath(path));
  CO_ASSIGN(content.reader, co_await Open(call, *content.sandbox, path));
  std::string begin;
  if (content.reader->sized()) {
    CO_ASSIGN(begin, co_await content.reader->Peek(kChunk));
  }
  content.mime_type = MimeTypeOf(path, begin);
  if (content.reader->sized() && content.reader->info().size <= kMostLookedThrough) {
    CO_ASSIGN(bool text, co_await LookThrough(*content.reader));
    content.binary = !text;
    CO_ASSIGN(content.reader, co_await Open(call, *content.sandbox, std::move(path)));
  }
  co_return content;
}

std::string MetadataText(const Content& content) {
  uint64_t size = content.reader->sized() ? content.reader->info().size : 0;
  json::Writer writer;
  writer.BeginObject().Field("type", "metadata").Field("mimeType", content.mime_type);
  writer.Field("size", size).Field("isBinary", content.binary);
  writer.Field("encoding", content.binary ? "base64" : "utf-8").EndObject();
  return http::EventText(writer.Take());
}

std::string ChunkText(std::string_view bytes, bool binary) {
  std::string data;
  if (binary) {
    data = '"';
    json::AppendBase64(data, bytes);
    data += '"';
  } else {
    json::AppendString(data, bytes);
  }
  return http::EventText(fmt::format(R"({{"type":"chunk","data":{}}})", data));
}

std::string FailureText(std::string_view message) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("error", message).EndObject();
  return http::EventText(writer.Take());
}

// Sends as much of `waiting` as makes whole chunks, or all of it at the end.
async::Task<Result<void>> SendChunks(std::string& waiting, bool binary, bool end,
                                     http::Exchange& exchange) {
  std::string_view rest = waiting;
  while (rest.size() >= kChunk || (end && !rest.empty())) {
    std::string_view chunk = rest.substr(0, kChunk);
    if (!binary && chunk.size() < rest.size()) chunk.remove_suffix(json::IncompleteTail(chunk));
    CO_TRY(co_await exchange.Write(ChunkText(chunk, binary)));
    rest.remove_prefix(chunk.size());
  }
  waiting.erase(0, waiting.size() - rest.size());
  co_return Result<void>();
}

async::Task<Result<void>> Send(Content& content, http::Exchange& exchange) {
  CO_TRY(co_await exchange.Write(MetadataText(content)));
  std::string waiting;
  uint64_t total = 0;
  while (true) {
    Result<std::string_view> piece = co_await content.reader->Next();
    if (!piece) {
      CO_TRY(co_await exchange.Write(FailureText(piece.error().message)));
      break;
    }
    bool end = piece->empty();
    total += piece->size();
    waiting += *piece;
    // It was text when it was looked through.
    if (!content.binary && json::ScanUtf8(waiting).broken) {
      CO_TRY(co_await exchange.Write(FailureText("the file has changed while it was read")));
      break;
    }
    CO_TRY(co_await SendChunks(waiting, content.binary, end, exchange));
    if (!end) continue;
    std::string last = fmt::format(R"({{"type":"complete","bytesRead":{}}})", total);
    CO_TRY(co_await exchange.Write(http::EventText(last)));
    break;
  }
  Result<void> finished = co_await exchange.Finish();
  co_return finished;
}

async::Task<> DoReadStream(Call& call) {
  Result<Content> content = co_await OpenContent(call);
  if (!content) {
    co_await RespondFailure(call.exchange, std::move(content).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  if (!begun) co_return;
  Result<void> sent = co_await Send(*content, call.exchange);
  if (!sent) call.exchange.Abort();
}

}  // namespace

async::Task<> ReadFileStream(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoReadStream, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
