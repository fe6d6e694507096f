// SPDX-License-Identifier: Apache-2.0
// What a background process has written, and what it writes.
#include <array>
#include <memory>
#include <utility>
#include <variant>

#include "api/sdk/handlers.h"
#include "api/sdk/process_json.h"
#include "api/sdk/terms.h"
#include "api/sdk/text_pieces.h"
#include "api/seed/output_events.h"
#include "api/seed/send_queue.h"
#include "http/sse.h"

namespace atl::api::sdk {
namespace {

struct Logs {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  sandbox::ProcessInfo info;
  std::unique_ptr<sandbox::ProcessLogReader> reader;
};

async::Task<Result<Logs>> OpenLogs(Call& call, bool follow) {
  std::string id = call.values.at(0);
  call.About("processId", id);
  Logs logs;
  CO_ASSIGN(logs.sandbox, co_await Use(call));
  sandbox::AgentClient& agent = logs.sandbox->agent();
  CO_ASSIGN(logs.info, co_await sandbox::GetProcess(agent, id));
  CO_ASSIGN(logs.reader, co_await sandbox::ProcessLogReader::Open(agent, std::move(id), 0,
                                                                  std::nullopt, follow));
  co_return logs;
}

async::Task<Result<std::string>> DoLogs(Call& call) {
  CO_ASSIGN(Logs logs, co_await OpenLogs(call, false));
  std::array<std::string, 2> texts;
  while (true) {
    CO_ASSIGN(sandbox::ProcessLogReader::Item item, co_await logs.reader->Next());
    auto* chunk = std::get_if<sandbox::LogChunk>(&item);
    if (chunk == nullptr) break;
    texts.at(chunk->err ? 1 : 0) += chunk->data;
  }
  json::Writer writer = Success();
  writer.Field("processId", logs.info.id);
  writer.Field("stdout", texts[0]).Field("stderr", texts[1]);
  co_return Finished(writer);
}

class LogEvents {
 public:
  explicit LogEvents(std::string process_id) : process_id_(std::move(process_id)) {}

  std::string Begin(const sandbox::ProcessInfo& info) const {
    json::Writer writer = Start("process_info", Now());
    writer.Field("command", info.display).Field("status", StatusName(info)).EndObject();
    return http::EventText(writer.Take());
  }

  std::string Output(const sandbox::LogChunk& chunk) {
    std::string text = pieces_.at(chunk.err ? 1 : 0).Take(chunk.data);
    return Data(chunk.err, text, IsoTime(static_cast<int64_t>(chunk.time_ms)));
  }

  std::string End(const sandbox::ProcessInfo& info) {
    std::string text = Data(false, pieces_[0].Rest(), Now());
    text += Data(true, pieces_[1].Rest(), Now());
    json::Writer writer = Start("exit", Now());
    writer.Field("exitCode", ExitCodeOf(info)).Field("data", "").EndObject();
    return text + http::EventText(writer.Take());
  }

  std::string Failed(const Error& error) const {
    json::Writer writer = Start("error", Now());
    writer.Field("data", error.message).Field("error", error.message).EndObject();
    return http::EventText(writer.Take());
  }

 private:
  json::Writer Start(std::string_view type, const std::string& timestamp) const {
    json::Writer writer;
    writer.BeginObject().Field("type", type).Field("timestamp", timestamp);
    writer.Field("processId", process_id_);
    return writer;
  }
  std::string Data(bool err, std::string_view text, const std::string& timestamp) const {
    if (text.empty()) return {};
    json::Writer writer = Start(err ? "stderr" : "stdout", timestamp);
    writer.Field("data", text).EndObject();
    return http::EventText(writer.Take());
  }

  std::string process_id_;
  std::array<TextPieces, 2> pieces_;  // of stdout and stderr
};

async::Task<> Follow(Logs& logs, SendQueue& queue) {
  LogEvents events(logs.info.id);
  queue.pending() += events.Begin(logs.info);
  while (true) {
    Result<sandbox::ProcessLogReader::Item> item = co_await logs.reader->Next();
    if (!item) {
      queue.pending() += events.Failed(item.error());
      break;
    }
    if (auto* info = std::get_if<sandbox::ProcessInfo>(&*item)) {
      queue.pending() += events.End(*info);
      break;
    }
    queue.pending() += events.Output(std::get<sandbox::LogChunk>(*item));
    Result<void> put = co_await queue.Put();
    if (!put) break;
  }
  queue.Close();
}

async::Task<> FollowAndSend(Logs& logs, SendQueue& queue) {
  co_await async::Both(Follow(logs, queue), queue.Send());
}

async::Task<> DoStream(Call& call) {
  Result<Logs> logs = co_await OpenLogs(call, true);
  if (!logs) {
    co_await RespondFailure(call.exchange, std::move(logs).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  if (!begun) co_return;
  SendQueue queue(call.exchange);
  co_await async::Race(FollowAndSend(*logs, queue), UntilHangup(call, queue));
  co_await FinishStream(call.exchange, queue.complete());
}

}  // namespace

async::Task<> ProcessLogs(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoLogs, services, std::move(values), exchange);
}

async::Task<> StreamProcessLogs(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoStream, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
