// SPDX-License-Identifier: Apache-2.0
#include "api/v1/snapshot_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "api/v1/byte_range.h"
#include "api/v1/file_json.h"
#include "async/byte_pipe.h"
#include "json/writer.h"
#include "snapshot/browse.h"

namespace atl::api {
namespace {

constexpr int64_t kPresignValid = 3600;
constexpr std::chrono::milliseconds kTakeLimit{30'000};
constexpr uint64_t kPieceBytes = 8U << 20U;

// Feeds `pipe` where blocking is allowed.
template <class Produce>
void StartProducer(const Services& services, std::shared_ptr<async::BytePipe> pipe,
                   Produce produce) {
  services.registry.downloads().Post([pipe, produce = std::move(produce)] {
    pipe->Finish(produce([&pipe](std::string_view piece) { return pipe->Write(piece); }));
  });
}

// Whichever way the coroutine ends, the producer does not wait for it.
class ReaderGuard {
 public:
  explicit ReaderGuard(std::shared_ptr<async::BytePipe> pipe) : pipe_(std::move(pipe)) {}
  ~ReaderGuard() { pipe_->CloseReader(); }
  ReaderGuard(const ReaderGuard&) = delete;
  ReaderGuard& operator=(const ReaderGuard&) = delete;

 private:
  std::shared_ptr<async::BytePipe> pipe_;
};

async::Task<> WriteInto(http::Exchange& exchange, const std::string& piece, Result<void>& sent) {
  sent = co_await exchange.Write(piece);
}

// A failure in the middle cuts the connection: nobody shall take a part for the whole.
async::Task<> Pump(std::shared_ptr<async::BytePipe> pipe, http::Exchange& exchange) {
  while (true) {
    Result<std::string> piece = co_await pipe->Read();
    if (!piece) break;
    if (piece->empty()) {
      Result<void> finished = co_await exchange.Finish();
      if (!finished) break;
      co_return;
    }
    // What a client does not take is kept ready by a thread and 32 MiB that others wait for.
    Result<void> sent = Fail(Code::kTimeout, "the client takes nothing");
    co_await async::WithTimeout(kTakeLimit, WriteInto(exchange, *piece, sent));
    if (!sent) break;
  }
  exchange.Abort();
}

void SetPolicy(http::ResponseHead& head) {
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  // Whatever is in there is for saving, not for running on this origin.
  head.headers.Set("Content-Security-Policy", "sandbox; default-src 'none'");
}

async::Task<> Send(http::ResponseHead head, std::shared_ptr<async::BytePipe> pipe,
                   http::Exchange& exchange) {
  ReaderGuard guard(pipe);
  SetPolicy(head);
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (begun) {
    co_await Pump(pipe, exchange);
  } else {
    exchange.Abort();
  }
}

// A part of a file of a snapshot that goes to a client.
struct Sending {
  const Services& services;
  http::Exchange& exchange;
  FoundSnapshot snapshot;
  std::string path;
  Span left;
  Result<std::string> next = std::string();
};

// A thread has it only so long as it reads.
async::Task<> ReadNext(Sending& sending) {
  Span span{.offset = sending.left.offset, .length = std::min(sending.left.length, kPieceBytes)};
  if (span.length == 0) {
    sending.next = std::string();
    co_return;
  }
  sending.left = {.offset = span.offset + span.length, .length = sending.left.length - span.length};
  auto read = [&sending, span]() -> Result<std::string> {
    std::string bytes;
    bytes.reserve(span.length);
    auto take = [&bytes](std::string_view piece) {
      bytes += piece;
      return Result<void>();
    };
    TRY(snapshot::ReadFile(*sending.snapshot.repository, sending.snapshot.record, sending.path,
                           span.offset, span.length, take));
    if (bytes.size() == span.length) return bytes;
    return Fail(Code::kInternal, "the file is shorter than it says");
  };
  sending.next = co_await sending.services.registry.streams().Run(std::move(read));
}

async::Task<> WriteInTime(http::Exchange& exchange, const std::string& piece, Result<void>& sent) {
  co_await async::WithTimeout(kTakeLimit, WriteInto(exchange, piece, sent));
}

// The next piece is read while the client takes the one before it.
async::Task<> PumpPieces(Sending& sending) {
  co_await ReadNext(sending);
  while (sending.next && !sending.next->empty()) {
    std::string piece = *std::move(sending.next);
    Result<void> sent = Fail(Code::kTimeout, "the client takes nothing");
    co_await async::Both(WriteInTime(sending.exchange, piece, sent), ReadNext(sending));
    if (!sent) sending.next = Unexpected(std::move(sent).error());
  }
  Result<void> finished = Fail(Code::kCancelled, "a part is not the whole");
  if (sending.next) finished = co_await sending.exchange.Finish();
  if (!finished) sending.exchange.Abort();
}

// A file name for Content-Disposition: what is not plain is left out.
std::string PlainName(std::string_view path) {
  std::string name;
  for (char c : path.substr(path.rfind('/') + 1)) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '-' || c == '_';
    name += plain ? c : '_';
  }
  return name.empty() ? "file" : name;
}

Result<std::string> Presigned(const Services& services, const std::string& id, int64_t valid) {
  ASSIGN(FoundSnapshot found, FindSnapshot(services, id));
  blob::Store& store = found.repository->store();
  std::string key = repository::ArchiveKey(found.record.id());
  // Asked first: a store that cannot do it need not be filled.
  ASSIGN(std::string url, store.Presign(key, std::chrono::seconds(valid)));
  ASSIGN(std::optional<uint64_t> there, store.Size(key));
  uint64_t bytes = there.value_or(0);
  if (!there) {
    ASSIGN(auto upload, store.PutStream(key, "application/zstd"));
    TRY(snapshot::WriteArchive(*found.repository, found.record, [&](std::string_view piece) {
      bytes += piece.size();
      return upload->Write(piece);
    }));
    TRY(upload->Finish());
  }
  json::Writer writer;
  writer.BeginObject().Field("snapshotId", found.record.id().Hex()).Field("url", url);
  writer.Field("bytes", bytes).Field("validSeconds", valid).EndObject();
  return writer.Take();
}

async::Task<> SendPresigned(const Services& services, std::string id, http::Exchange& exchange) {
  Result<uint64_t> valid = QueryNumber(exchange.request(), "valid", kPresignValid, kMostValid);
  if (!valid) {
    co_await http::RespondError(exchange, std::move(valid).error());
    co_return;
  }
  auto presign = [&] { return Presigned(services, id, static_cast<int64_t>(*valid)); };
  Result<std::string> json = co_await services.registry.downloads().Run(presign);
  if (!json) {
    co_await http::RespondError(exchange, std::move(json).error());
    co_return;
  }
  Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(*json));
  (void)sent;  // the client has gone away
}

}  // namespace

Result<FoundSnapshot> FindSnapshot(const Services& services, const std::string& id) {
  ASSIGN(snapshot::Vault::Repo repository, services.registry.vault().Get());
  auto record = repository->FindSnapshot(id);
  if (!record && record.error().code == Code::kNotFound) {
    // Another daemon, or restic, may have made it.
    TRY(repository->Refresh());
    record = repository->FindSnapshot(id);
  }
  if (!record) return Unexpected(std::move(record).error());
  return FoundSnapshot{.repository = std::move(repository), .record = std::move(*record)};
}

async::Task<> SendFile(const Services& services, std::string id, http::Exchange& exchange) {
  std::string path = http::QueryParameter(exchange.request().query(), "path").value_or("");
  struct Found {
    FoundSnapshot snapshot;
    repository::Node node;
  };
  auto find = [&]() -> Result<Found> {
    ASSIGN(FoundSnapshot snapshot, FindSnapshot(services, id));
    ASSIGN(repository::Node node, snapshot::FindNode(*snapshot.repository, snapshot.record, path));
    if (node.type != repository::NodeType::kFile) {
      return Fail(Code::kInvalidArgument, fmt::format("{:.200} is no regular file", path),
                  "IS_DIRECTORY");
    }
    return Found{.snapshot = std::move(snapshot), .node = std::move(node)};
  };
  Result<Found> found = co_await services.registry.transfers().Run(find);
  if (!found) {
    co_await http::RespondError(exchange, std::move(found).error());
    co_return;
  }
  uint64_t size = found->node.size;
  http::ResponseHead head;
  Span span{.offset = 0, .length = size};
  if (auto range = exchange.request().headers.Get("Range")) {
    std::optional<Span> wanted = ParseRange(*range, size);
    if (wanted && wanted->length == 0) {
      co_await RespondNoRange(exchange, size);
      co_return;
    }
    if (wanted) {
      span = *wanted;
      head.status = 206;
      head.headers.Set("Content-Range", fmt::format("bytes {}-{}/{}", span.offset,
                                                    span.offset + span.length - 1, size));
    }
  }
  head.headers.Set("Content-Type", "application/octet-stream");
  head.headers.Set("Content-Length", fmt::to_string(span.length));
  head.headers.Set("Accept-Ranges", "bytes");
  head.headers.Set("Content-Disposition",
                   fmt::format("attachment; filename=\"{}\"", PlainName(path)));
  if (exchange.request().method == "HEAD") span.length = 0;
  SetPolicy(head);
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (!begun) {
    exchange.Abort();
    co_return;
  }
  Sending sending{.services = services,
                  .exchange = exchange,
                  .snapshot = std::move(found->snapshot),
                  .path = std::move(path),
                  .left = span};
  co_await PumpPieces(sending);
}

async::Task<> SendArchive(const Services& services, std::string id, http::Exchange& exchange) {
  if (QueryFlag(exchange.request(), "presign") && exchange.request().method == "GET") {
    co_await SendPresigned(services, std::move(id), exchange);
    co_return;
  }
  auto find = [&] { return FindSnapshot(services, id); };
  Result<FoundSnapshot> found = co_await services.registry.transfers().Run(find);
  if (!found) {
    co_await http::RespondError(exchange, std::move(found).error());
    co_return;
  }
  http::ResponseHead head;
  head.headers.Set("Content-Type", "application/zstd");
  head.headers.Set("Content-Disposition",
                   fmt::format("attachment; filename=\"{}.tar.zst\"", found->record.id().Short()));
  auto pipe = std::make_shared<async::BytePipe>();
  if (exchange.request().method == "HEAD") {
    pipe->Finish({});
    co_await Send(std::move(head), pipe, exchange);
    co_return;
  }
  StartProducer(services, pipe, [snapshot = *found](const auto& sink) {
    return snapshot::WriteArchive(*snapshot.repository, snapshot.record, sink);
  });
  co_await Send(std::move(head), pipe, exchange);
}

}  // namespace atl::api
