// SPDX-License-Identifier: Apache-2.0
#include "api/seed/output_events.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "json/utf8.h"
#include "json/writer.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

constexpr size_t kMaxEventBytes = 64UL * 1024;

std::string_view Name(OutputEvents::Stream stream) {
  return stream == OutputEvents::Stream::kStdout ? "stdout" : "stderr";
}

}  // namespace

std::string IsoTime(int64_t unix_ms) {
  std::tm time = fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000));
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", time, unix_ms % 1000);
}

int64_t NowMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::string_view OutputEvents::Timestamp() {
  int64_t now = NowMs();
  if (now != timestamp_ms_) {
    timestamp_ms_ = now;
    timestamp_ = IsoTime(now);
  }
  return timestamp_;
}

void OutputEvents::End(std::string& out) {
  out.append(",\"timestamp\":\"").append(Timestamp()).append("\"}\n\n");
}

void OutputEvents::Start(std::string_view command, std::string& out) { Start(command, {}, out); }

void OutputEvents::Start(std::string_view command, std::string_view members, std::string& out) {
  out.append("data: {\"type\":\"start\",\"command\":");
  json::AppendString(out, command);
  if (!members.empty()) out.append(",").append(members);
  End(out);
}

void OutputEvents::Complete(std::string_view members, std::string& out) {
  Flush(out);
  out.append("data: {\"type\":\"complete\",").append(members);
  End(out);
}

void OutputEvents::Piece(Stream stream, std::string_view data, std::string& out) {
  size_t text = base64_ ? 0 : json::ScanUtf8(data).valid;
  if (text > 0) {
    out.append("data: {\"type\":\"").append(Name(stream)).append("\",\"data\":");
    json::AppendUtf8String(out, data.substr(0, text));
    End(out);
  }
  if (text == data.size()) return;
  out.append("data: {\"type\":\"").append(Name(stream)).append("\",\"base64\":\"");
  json::AppendBase64(out, data.substr(text));
  out.push_back('"');
  End(out);
}

void OutputEvents::Output(Stream stream, std::string_view data, std::string& out) {
  std::string& waiting = waiting_[stream == Stream::kStdout ? 0 : 1];
  std::string joined;
  if (!waiting.empty()) {
    joined = std::move(waiting);
    waiting.clear();
    joined.append(data);
    data = joined;
  }
  while (!data.empty()) {
    std::string_view piece = data.substr(0, kMaxEventBytes);
    size_t tail = base64_ ? 0 : json::IncompleteTail(piece);
    if (piece.size() == data.size()) {
      waiting = piece.substr(piece.size() - tail);
      data = {};
    } else {
      data.remove_prefix(piece.size() - tail);
    }
    Piece(stream, piece.substr(0, piece.size() - tail), out);
  }
}

void OutputEvents::Flush(std::string& out) {
  for (Stream stream : {Stream::kStdout, Stream::kStderr}) {
    std::string rest = std::move(waiting_[stream == Stream::kStdout ? 0 : 1]);
    Piece(stream, rest, out);
  }
  for (std::string& waiting : waiting_) waiting.clear();
}

void OutputEvents::Complete(const sandbox::RunOutcome& outcome, std::string& out) {
  Flush(out);
  fmt::format_to(std::back_inserter(out), "data: {{\"type\":\"complete\",\"exitCode\":{}",
                 outcome.exit_code);
  if (outcome.timed_out) out.append(",\"timedOut\":true");
  if (outcome.out_of_memory) out.append(",\"outOfMemory\":true,\"oomKilled\":true");
  End(out);
}

void OutputEvents::Failure(const Error& error, std::string& out) {
  metrics::CountError(ReasonOf(error));
  Flush(out);
  out.append("data: {\"type\":\"error\",\"error\":");
  json::AppendString(out, error.message);
  out.append(",\"code\":");
  json::AppendString(out, ReasonOf(error));
  End(out);
}

}  // namespace atl::api
