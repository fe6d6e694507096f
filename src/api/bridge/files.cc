// SPDX-License-Identifier: Apache-2.0
#include "sandbox/files.h"

#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/file_json.h"
#include "api/v1/pieces.h"

namespace atl::api::bridge {
namespace {

constexpr size_t kPieceBytes = 256U << 10U;

struct Opened {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is read
  std::unique_ptr<sandbox::FileReader> reader;
};

async::Task<Result<Opened>> Open(const Services& services, Values values,
                                 http::Exchange& exchange) {
  CO_ASSIGN(std::string path, WorkspacePath("/" + values.at(1)));
  Opened opened;
  CO_ASSIGN(opened.sandbox, co_await AcquireOrCreate(services, std::move(values[0]), exchange));
  sandbox::ReadFile wanted{.path = std::move(path), .user = {}};
  Result<std::unique_ptr<sandbox::FileReader>> reader = co_await sandbox::OpenFile(
      opened.sandbox->agent(), services.registry.streams(), std::move(wanted));
  if (!reader) {
    Error error = std::move(reader).error();
    std::string_view reason = ReasonOf(error);
    if (reason == "FILE_NOT_FOUND" || reason == "NOT_DIRECTORY") error.reason = kReadNotFound;
    co_return Unexpected(std::move(error));
  }
  opened.reader = *std::move(reader);
  co_return opened;
}

Result<void> CheckSize(uint64_t size) {
  if (size <= kMostUpload) return {};
  return Fail(Code::kTooLarge, fmt::format("the body has more than {} bytes", kMostUpload));
}

async::Task<Result<void>> Receive(const Services& services, Values values,
                                  http::Exchange& exchange) {
  CO_ASSIGN(std::string path, WorkspacePath("/" + values.at(1)));
  CO_TRY(CheckSize(exchange.request().content_length));
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, std::move(values[0]), exchange));
  sandbox::WriteFile request{.path = std::move(path), .user = {}};
  CO_ASSIGN(auto writer, co_await sandbox::CreateFile(sandbox->agent(), services.registry.streams(),
                                                      std::move(request)));
  std::vector<char> buffer(kPieceBytes);
  uint64_t size = 0;
  while (true) {
    CO_ASSIGN(size_t count, co_await exchange.ReadSome(buffer));
    if (count == 0) break;
    size += count;
    CO_TRY(CheckSize(size));
    CO_TRY(co_await writer->Write(std::string_view(buffer.data(), count)));
  }
  CO_TRY(co_await writer->Commit());
  co_return Result<void>();
}

}  // namespace

async::Task<> ReadFile(const Services& services, Values values, http::Exchange& exchange) {
  Result<Opened> opened = co_await Open(services, std::move(values), exchange);
  if (!opened) {
    co_await RespondFailure(exchange, std::move(opened).error(), kExecFailed);
    co_return;
  }
  sandbox::FileReader& reader = *opened->reader;
  Result<std::string_view> first = co_await reader.Next();
  if (!first) {
    co_await RespondFailure(exchange, std::move(first).error(), kExecFailed);
    co_return;
  }
  http::ResponseHead head;
  AddContentPolicy(head);
  head.headers.Set("Content-Type", "application/octet-stream");
  head.headers.Set("Cache-Control", "no-store");
  if (reader.sized()) head.headers.Set("Content-Length", fmt::to_string(reader.info().size));
  Result<void> started = co_await exchange.StartResponse(std::move(head));
  if (!started) {
    exchange.Abort();
  } else if (exchange.request().method == "HEAD") {
    Result<void> finished = co_await exchange.Finish();
    (void)finished;  // the client has gone away
  } else {
    co_await SendPieces(reader, *first, exchange);
  }
}

async::Task<> WriteFile(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> written = co_await Receive(services, std::move(values), exchange);
  co_await RespondOk(exchange, std::move(written), kArchiveWriteFailed);
}

}  // namespace atl::api::bridge
