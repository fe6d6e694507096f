// SPDX-License-Identifier: Apache-2.0
#include "sandbox/bridge_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <limits>

#include "json/reader.h"

namespace atl::sandbox {
namespace {

constexpr size_t kReadBytes = 64UL << 10U;
constexpr size_t kMaxName = 256;
constexpr size_t kMaxErrorText = 64UL << 10U;
constexpr size_t kMaxTraceback = 256;
constexpr size_t kMaxDepth = 64;
constexpr int64_t kMostNumber = 1LL << 53U;

Unexpected Nonsense(std::string_view what) {
  return Fail(Code::kInternal, fmt::format("the interpreter's bridge says {}", what),
              "CODE_EXECUTION_ERROR");
}

bool IsBase64(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '=';
  });
}

// Written anew, so that it can stand in an answer as it is.
Result<std::string> CheckedJson(const std::string& text) {
  boost::system::error_code error;
  boost::json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::json::value value = boost::json::parse(text, error, {}, options);
  if (error) return Nonsense("something that is not JSON");
  return boost::json::serialize(value);
}

Result<CodeOutput> ParseResult(const json::Object& line) {
  CodeOutput output{.kind = CodeOutput::Kind::kResult};
  ASSIGN(std::optional<bool> is_value, line.OptionalBool("value"));
  output.is_value = is_value.value_or(false);
  ASSIGN(std::optional<json::Object> forms, line.OptionalObject("forms"));
  if (!forms) return Nonsense("a result without forms");
  for (size_t i = 0; i < kOutputForms; ++i) {
    auto form = static_cast<OutputForm>(i);
    ASSIGN(std::optional<std::string> value, forms->OptionalString(FormName(form)));
    if (!value) continue;
    bool binary = form == OutputForm::kPng || form == OutputForm::kJpeg || form == OutputForm::kPdf;
    if (binary && !IsBase64(*value)) return Nonsense("an image that is not base64");
    if (form == OutputForm::kJson || form == OutputForm::kChart) {
      ASSIGN(*value, CheckedJson(*value));
    }
    output.forms.emplace_back(form, *std::move(value));
  }
  return output;
}

Result<CodeOutput> ParseError(const json::Object& line) {
  CodeOutput output{.kind = CodeOutput::Kind::kError};
  ASSIGN(output.name, line.String("name"));
  ASSIGN(output.text, line.String("text"));
  ASSIGN(auto traceback, line.OptionalTextList("traceback"));
  if (traceback) output.traceback = *std::move(traceback);
  if (output.name.size() > 4 * kMaxName || output.text.size() > 4 * kMaxErrorText ||
      output.traceback.size() > kMaxTraceback) {
    return Nonsense("too much of an error");
  }
  return output;
}

Result<uint64_t> Number(const json::Object& line, std::string_view name) {
  ASSIGN(std::optional<int64_t> value, line.OptionalInt(name, {.min = 0, .max = kMostNumber}));
  return static_cast<uint64_t>(value.value_or(0));
}

Result<bool> Flag(const json::Object& line, std::string_view name) {
  ASSIGN(std::optional<bool> value, line.OptionalBool(name));
  return value.value_or(false);
}

Result<BridgeDone> ParseDone(const json::Object& line) {
  BridgeDone done;
  ASSIGN(done.outcome.ok, Flag(line, "ok"));
  ASSIGN(done.outcome.timed_out, Flag(line, "timed_out"));
  ASSIGN(done.outcome.restarted, Flag(line, "restarted"));
  ASSIGN(done.outcome.truncated, Flag(line, "truncated"));
  ASSIGN(done.outcome.execution_count, Number(line, "count"));
  ASSIGN(std::optional<double> ms, line.OptionalNumber("ms", 0, 1e12));
  done.outcome.duration_ms = ms.value_or(0);
  done.count = done.outcome.execution_count;
  ASSIGN(std::optional<std::string> cwd, line.OptionalText("cwd"));
  done.cwd = cwd.value_or("").substr(0, 4096);
  ASSIGN(uint64_t created, Number(line, "created"));
  ASSIGN(uint64_t used, Number(line, "used"));
  done.created_ms = static_cast<int64_t>(created);
  done.used_ms = static_cast<int64_t>(used);
  ASSIGN(done.busy, Flag(line, "busy"));
  return done;
}

Result<BridgeMessage> ParseLine(std::string_view text) {
  ASSIGN(json::Object line, json::Object::Parse(text, false, {.max_bytes = kMaxBridgeLine}));
  ASSIGN(std::string type, line.String("type"));
  if (type == "stdout" || type == "stderr") {
    CodeOutput output{.kind =
                          type == "stdout" ? CodeOutput::Kind::kStdout : CodeOutput::Kind::kStderr};
    ASSIGN(output.text, line.String("text"));
    return output;
  }
  if (type == "result") return ParseResult(line);
  if (type == "error") return ParseError(line);
  if (type == "begun") return BridgeBegun{};
  if (type == "done") return ParseDone(line);
  if (type == "refused") {
    ASSIGN(std::string why, line.String("why"));
    Error error{.code = Code::kUnavailable,
                .message = "the interpreter cannot take this now: " + why,
                .reason = "CONTEXT_BUSY"};
    return Unexpected(CleanAgentError(std::move(error)));
  }
  return Nonsense("something of a type that there is not");
}

}  // namespace

Result<BridgeMessage> ParseBridgeLine(std::string_view line) {
  Result<BridgeMessage> message = ParseLine(line);
  if (message || message.error().code != Code::kInvalidArgument) return message;
  return Nonsense("what it should not: " + CleanAgentError(std::move(message).error()).message);
}

std::string BridgeSocket(std::string_view context) {
  return fmt::format("/run/atoll/interpreter/{}/socket", context);
}

async::Task<Result<BridgeLink>> BridgeLink::Open(AgentClient& agent, std::string context,
                                                 std::string request) {
  Result<async::Stream> stream = co_await agent.DialPath(BridgeSocket(context));
  if (!stream) {
    Error error = std::move(stream).error();
    if (error.reason == "SERVICE_NOT_RESPONDING") co_return NoContext(context);
    co_return Unexpected(std::move(error));
  }
  BridgeLink link(*std::move(stream));
  request += '\n';
  CO_TRY(co_await link.stream_.Write(request));
  co_return link;
}

async::Task<> BridgeLink::Fill(Result<size_t>& filled) {
  size_t before = buffer_.size();
  buffer_.resize(before + kReadBytes);
  filled = co_await stream_.ReadSome(std::span(buffer_).subspan(before));
  buffer_.resize(before + filled.value_or(0));
}

async::Task<Result<BridgeMessage>> BridgeLink::Next(std::chrono::milliseconds limit) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    size_t end = buffer_.find('\n', searched_);
    if (end != std::string::npos) {
      Result<BridgeMessage> message =
          ParseBridgeLine(std::string_view(buffer_).substr(begin_, end - begin_));
      begin_ = searched_ = end + 1;
      co_return message;
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched_ = buffer_.size();
    if (buffer_.empty()) buffer_.shrink_to_fit();  // of a line that was long
    if (buffer_.size() > kMaxBridgeLine) co_return Nonsense("a line without end");
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    Result<size_t> filled = Fail(Code::kTimeout, "the interpreter's bridge says nothing");
    co_await async::WithTimeout(std::max(left, std::chrono::milliseconds(0)), Fill(filled));
    if (!filled && filled.error().code == Code::kCancelled) {
      co_return Fail(Code::kTimeout, "the interpreter's bridge says nothing",
                     "CODE_EXECUTION_ERROR");
    }
    CO_ASSIGN(size_t count, std::move(filled));
    if (count == 0) {
      co_return Fail(Code::kInternal, "the context ended while it was used",
                     "CODE_EXECUTION_ERROR");
    }
    bytes_ += count;
  }
}

}  // namespace atl::sandbox
