// SPDX-License-Identifier: Apache-2.0
// Waiting for what a background process does.
#include <fmt/format.h>
#include <re2/re2.h>

#include <array>
#include <charconv>
#include <utility>

#include "sandbox/processes.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxPattern = 4096;
constexpr int64_t kRegexMemory = 8LL << 20U;
constexpr int kMaxGroups = 16;
// A line that is longer is looked at in pieces, which overlap.
constexpr size_t kMaxLine = 64UL << 10U;
constexpr size_t kOverlap = 4096;
constexpr milliseconds kProbePause{100};
constexpr milliseconds kProbeLimit{5'000};

Unexpected NotInTime(std::string_view what, milliseconds limit) {
  return Fail(Code::kTimeout, fmt::format("{} within {} ms", what, limit.count()),
              "PROCESS_READY_TIMEOUT");
}

Unexpected ExitedBefore(const ProcessInfo& info) {
  int code = info.exited.signal != 0 ? 128 + info.exited.signal : info.exited.exit_code;
  return Fail(Code::kInternal,
              fmt::format("the process {} has ended with exit code {} before that", info.id, code),
              "PROCESS_EXITED_BEFORE_READY");
}

class Pattern {
 public:
  static Result<std::unique_ptr<Pattern>> Make(std::string text, bool regex) {
    if (text.empty() || text.size() > kMaxPattern) {
      return Fail(Code::kInvalidArgument, fmt::format("a pattern has 1 to {} bytes", kMaxPattern),
                  "VALIDATION_FAILED");
    }
    auto pattern = std::make_unique<Pattern>();
    if (regex) {
      re2::RE2::Options options;
      options.set_max_mem(kRegexMemory);
      options.set_log_errors(false);
      pattern->regex_ = std::make_unique<re2::RE2>(text, options);
      if (!pattern->regex_->ok()) {
        return Fail(Code::kInvalidArgument,
                    "the pattern is no regular expression: " + pattern->regex_->error(),
                    "VALIDATION_FAILED");
      }
    }
    pattern->text_ = std::move(text);
    return pattern;
  }

  bool Matches(std::string_view line, LogMatch* match) const {
    if (!regex_) {
      if (!line.contains(text_)) return false;
      match->line = line;
      return true;
    }
    std::array<re2::StringPiece, kMaxGroups> groups;
    int count = std::min(regex_->NumberOfCapturingGroups() + 1, kMaxGroups);
    re2::StringPiece whole(line.data(), line.size());
    if (!regex_->Match(whole, 0, line.size(), re2::RE2::UNANCHORED, groups.data(), count)) {
      return false;
    }
    match->line = line;
    for (int i = 1; i < count; ++i)
      match->groups.emplace_back(groups.at(i).data(), groups.at(i).size());
    return true;
  }

 private:
  std::string text_;
  std::unique_ptr<re2::RE2> regex_;
};

// Puts the pieces of one stream together to lines. A line that has not ended is looked at too: a
// prompt may be what is waited for.
class LineMatcher {
 public:
  bool Take(const Pattern& pattern, std::string_view piece, LogMatch* match) {
    pending_ += piece;
    size_t begin = 0;
    for (size_t end = pending_.find('\n'); end != std::string::npos;
         end = pending_.find('\n', begin)) {
      std::string_view line = std::string_view(pending_).substr(begin, end - begin);
      if (pattern.Matches(line, match)) return true;
      begin = end + 1;
    }
    pending_.erase(0, begin);
    if (!pending_.empty() && pattern.Matches(pending_, match)) return true;
    if (pending_.size() > kMaxLine) pending_.erase(0, pending_.size() - kOverlap);
    return false;
  }

 private:
  std::string pending_;
};

async::Task<Result<ProcessInfo>> UntilEnd(AgentClient& agent, std::string id) {
  CO_ASSIGN(auto reader, co_await ProcessLogReader::Open(agent, std::move(id), ~0ULL, 0, true));
  CO_ASSIGN(ProcessLogReader::Item item, co_await reader->Next());
  if (auto* info = std::get_if<ProcessInfo>(&item)) co_return std::move(*info);
  co_return Fail(Code::kInternal, "the agent sent output that nobody asked for");
}

async::Task<> UntilEndInto(AgentClient& agent, std::string id,
                           std::optional<Result<ProcessInfo>>& result) {
  result = co_await UntilEnd(agent, std::move(id));
}

async::Task<Result<LogMatch>> Matching(AgentClient& agent, std::string id, const Pattern& pattern) {
  CO_ASSIGN(auto reader,
            co_await ProcessLogReader::Open(agent, std::move(id), 0, std::nullopt, true));
  std::array<LineMatcher, 2> streams;
  while (true) {
    CO_ASSIGN(ProcessLogReader::Item item, co_await reader->Next());
    if (auto* info = std::get_if<ProcessInfo>(&item)) co_return ExitedBefore(*info);
    const LogChunk& chunk = std::get<LogChunk>(item);
    LogMatch match{.err = chunk.err};
    if (streams.at(chunk.err ? 1 : 0).Take(pattern, chunk.data, &match)) co_return match;
  }
}

async::Task<> MatchingInto(AgentClient& agent, std::string id, const Pattern& pattern,
                           std::optional<Result<LogMatch>>& result) {
  result = co_await Matching(agent, std::move(id), pattern);
}

// The status that a GET is answered with.
async::Task<Result<int>> StatusOf(async::Stream& stream, const PortProbe& probe) {
  std::string request = fmt::format(
      "GET {} HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: atoll\r\nAccept: */*\r\nConnection: "
      "close\r\n\r\n",
      probe.path, probe.port);
  CO_TRY(co_await stream.Write(request));
  std::string head;
  std::array<char, 512> buffer{};
  while (head.size() < 12) {
    CO_ASSIGN(size_t count, co_await stream.ReadSome(buffer));
    if (count == 0) break;
    head.append(buffer.data(), count);
  }
  int status = 0;
  bool http = head.starts_with("HTTP/1.") && head.size() >= 12 && head[8] == ' ';
  if (http) std::from_chars(head.data() + 9, head.data() + 12, status);
  if (status < 100) co_return Fail(Code::kBadGateway, "what listens there speaks no HTTP");
  co_return status;
}

async::Task<> ProbeOnce(AgentClient& agent, const PortProbe& probe, std::optional<int>& answer) {
  Result<async::Stream> stream = co_await agent.Dial(probe.port);
  if (!stream) co_return;
  if (probe.path.empty()) {
    answer = 0;
    co_return;
  }
  Result<int> status = co_await StatusOf(*stream, probe);
  if (status && *status >= probe.least_status && *status <= probe.most_status) answer = *status;
}

async::Task<> ProbeUntil(AgentClient& agent, const PortProbe& probe, std::optional<int>& answer) {
  while (true) {
    bool in_time = co_await async::WithTimeout(kProbeLimit, ProbeOnce(agent, probe, answer));
    if (in_time && answer) co_return;
    co_await async::Sleep(kProbePause);
  }
}

}  // namespace

async::Task<Result<ProcessInfo>> WaitForExit(AgentClient& agent, std::string id,
                                             milliseconds limit) {
  std::optional<Result<ProcessInfo>> result;
  bool in_time = co_await async::WithTimeout(limit, UntilEndInto(agent, std::move(id), result));
  if (in_time && result) co_return std::move(*result);
  co_return NotInTime("the process has not ended", limit);
}

async::Task<Result<LogMatch>> WaitForLog(AgentClient& agent, std::string id, std::string text,
                                         bool regex, milliseconds limit) {
  CO_ASSIGN(auto pattern, Pattern::Make(std::move(text), regex));
  std::optional<Result<LogMatch>> result;
  bool in_time =
      co_await async::WithTimeout(limit, MatchingInto(agent, std::move(id), *pattern, result));
  if (in_time && result) co_return std::move(*result);
  co_return NotInTime("no line matched", limit);
}

async::Task<Result<int>> WaitForPort(AgentClient& agent, std::string id, PortProbe probe,
                                     milliseconds limit) {
  std::optional<Result<ProcessInfo>> ended;
  std::optional<int> answer;
  async::Task<> first = ProbeUntil(agent, probe, answer);
  if (!id.empty()) {
    CO_TRY(co_await GetProcess(agent, id));
    first = async::Race(std::move(first), UntilEndInto(agent, std::move(id), ended));
  }
  bool in_time = co_await async::WithTimeout(limit, std::move(first));
  if (answer) co_return *answer;
  if (in_time && ended && !*ended) co_return Unexpected(std::move(*ended).error());
  if (in_time && ended) co_return ExitedBefore(**ended);
  co_return NotInTime(fmt::format("port {} did not answer as wanted", probe.port), limit);
}

}  // namespace atl::sandbox
