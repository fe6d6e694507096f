// SPDX-License-Identifier: Apache-2.0
#include "api/v1/process_logs.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/seed/send_queue.h"
#include "api/v1/file_json.h"
#include "api/v1/processes.h"
#include "http/sse.h"
#include "json/utf8.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

constexpr uint64_t kUsualLimit = 1U << 20U;
constexpr uint64_t kMostLimit = 16U << 20U;

Result<uint64_t> Number(std::string_view text, std::string_view name, uint64_t otherwise) {
  if (text.empty()) return otherwise;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is not a number", name),
              "VALIDATION_FAILED");
}

struct Wanted {
  uint64_t offset = 0;
  uint64_t limit = kUsualLimit;
  bool follow = false;
};

Result<Wanted> ParseLogs(const http::RequestHead& request) {
  Wanted wanted;
  ASSIGN(wanted.offset, Number(Query(request, "offset"), "offset", 0));
  ASSIGN(wanted.limit, Number(Query(request, "limit"), "limit", kUsualLimit));
  if (wanted.limit < 1 || wanted.limit > kMostLimit) {
    return Fail(Code::kInvalidArgument, fmt::format("\"limit\" is 1 to {}", kMostLimit),
                "VALIDATION_FAILED");
  }
  wanted.follow = QueryFlag(request, "follow") ||
                  http::ListContains(request.headers.Joined("Accept"), "text/event-stream");
  ASSIGN(wanted.offset,
         Number(request.headers.Joined("Last-Event-ID"), "Last-Event-ID", wanted.offset));
  return wanted;
}

std::string_view StreamName(const sandbox::LogChunk& chunk) {
  return chunk.err ? "stderr" : "stdout";
}

// "data" or "base64". What is UTF-8 but for a character at its ends that the limits have cut is not
// text: nobody could put that together again.
void WriteData(json::Writer& writer, std::string_view bytes) {
  std::string value;
  bool text = json::IsUtf8(bytes);
  if (text) {
    json::AppendUtf8String(value, bytes);
  } else {
    value = '"';
    json::AppendBase64(value, bytes);
    value += '"';
  }
  writer.Key(text ? "data" : "base64").Raw(value);
}

using Reader = std::unique_ptr<sandbox::ProcessLogReader>;

async::Task<Result<std::string>> ReadLogs(sandbox::AgentClient& agent, Reader reader) {
  json::Writer writer;
  writer.BeginObject().Key("chunks").BeginArray();
  uint64_t next = 0;
  size_t chunks = 0;
  while (true) {
    CO_ASSIGN(sandbox::ProcessLogReader::Item item, co_await reader->Next());
    if (auto* info = std::get_if<sandbox::ProcessInfo>(&item)) {
      writer.EndArray().Field("nextOffset", chunks > 0 ? next : info->log_end);
      writer.Key("process");
      WriteProcess(writer, agent, *info);
      writer.EndObject();
      co_return writer.Take();
    }
    const auto& chunk = std::get<sandbox::LogChunk>(item);
    writer.BeginObject().Field("stream", StreamName(chunk)).Field("offset", chunk.offset);
    writer.Field("time", IsoTime(static_cast<int64_t>(chunk.time_ms)));
    WriteData(writer, chunk.data);
    writer.EndObject();
    next = chunk.offset + chunk.data.size();
    ++chunks;
  }
}

std::string EventOf(const sandbox::LogChunk& chunk) {
  json::Writer writer;
  writer.BeginObject().Field("type", StreamName(chunk)).Field("offset", chunk.offset);
  WriteData(writer, chunk.data);
  writer.Field("timestamp", IsoTime(static_cast<int64_t>(chunk.time_ms))).EndObject();
  // The offset behind it: where a client that lost the connection goes on.
  return fmt::format("id: {}\n{}", chunk.offset + chunk.data.size(),
                     http::EventText(writer.Take()));
}

std::string EndEvent(const sandbox::AgentClient& agent, const sandbox::ProcessInfo& info) {
  int signal = info.exited.signal;
  json::Writer writer;
  writer.BeginObject().Field("type", "exit");
  writer.Field("exitCode", signal != 0 ? 128 + signal : info.exited.exit_code);
  writer.Key("process");
  WriteProcess(writer, agent, info);
  writer.EndObject();
  return http::EventText(writer.Take());
}

async::Task<> FollowInto(sandbox::AgentClient& agent, sandbox::ProcessLogReader& reader,
                         SendQueue& queue) {
  while (true) {
    Result<sandbox::ProcessLogReader::Item> item = co_await reader.Next();
    if (!item) {
      metrics::CountError(ReasonOf(item.error()));
      json::Writer writer;
      writer.BeginObject().Field("type", "error").Field("error", item.error().message);
      writer.Field("code", ReasonOf(item.error())).EndObject();
      queue.pending() += http::EventText(writer.Take());
      break;
    }
    if (auto* info = std::get_if<sandbox::ProcessInfo>(&*item)) {
      queue.pending() += EndEvent(agent, *info);
      break;
    }
    queue.pending() += EventOf(std::get<sandbox::LogChunk>(*item));
    Result<void> put = co_await queue.Put();
    if (!put) break;
  }
  queue.Close();
}

async::Task<> FollowAndSend(sandbox::AgentClient& agent, sandbox::ProcessLogReader& reader,
                            SendQueue& queue) {
  co_await async::Both(FollowInto(agent, reader, queue), queue.Send());
}

async::Task<> StreamLogs(sandbox::AgentClient& agent, Reader reader, http::Exchange& exchange) {
  Result<void> begun = co_await exchange.StartResponse(http::EventStreamHead());
  if (!begun) {
    exchange.Abort();
    co_return;
  }
  SendQueue queue(exchange);
  co_await async::Race(FollowAndSend(agent, *reader, queue), exchange.WaitForHangup());
  co_await FinishStream(exchange, queue.complete());
}

}  // namespace

async::Task<> RespondLogs(const Services& services, Values values, http::Exchange& exchange) {
  Result<Wanted> wanted = ParseLogs(exchange.request());
  if (!wanted) {
    co_await http::RespondError(exchange, std::move(wanted).error());
    co_return;
  }
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
      co_await AcquireFor(services, std::move(values.at(0)), exchange);
  Result<sandbox::ProcessInfo> known = Unexpected(Error{});
  if (sandbox) known = co_await sandbox::GetProcess((*sandbox)->agent(), values.at(1));
  Result<Reader> reader = Unexpected(Error{});
  std::optional<uint64_t> limit = wanted->follow ? std::nullopt : std::optional(wanted->limit);
  if (sandbox && known) {
    reader = co_await sandbox::ProcessLogReader::Open((*sandbox)->agent(), values.at(1),
                                                      wanted->offset, limit, wanted->follow);
  }
  Error* error = nullptr;
  if (!sandbox) {
    error = &sandbox.error();
  } else if (!known) {
    error = &known.error();
  } else if (!reader) {
    error = &reader.error();
  }
  if (error != nullptr) {
    co_await http::RespondError(exchange, std::move(*error));
  } else if (wanted->follow) {
    co_await StreamLogs((*sandbox)->agent(), *std::move(reader), exchange);
  } else {
    Result<std::string> json = co_await ReadLogs((*sandbox)->agent(), *std::move(reader));
    co_await RespondResult(exchange, std::move(json));
  }
}

}  // namespace atl::api
