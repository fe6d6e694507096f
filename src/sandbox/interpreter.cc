// SPDX-License-Identifier: Apache-2.0
// Contexts are background processes; each request to one is a connection to its bridge.
#include "sandbox/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "crypto/bytes.h"
#include "crypto/sha256.h"
#include "json/writer.h"
#include "protocol/exec.h"
#include "sandbox/agent_request.h"
#include "sandbox/bridge_link.h"
#include "sandbox/bridge_programs.h"
#include "sandbox/exec.h"
#include "sandbox/files.h"
#include "sandbox/processes.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr std::string_view kFolder = "/run/atoll/interpreter";
// The id of a context, which is that of its process: "context-python-0123456789ab".
constexpr std::string_view kPrefix = "context-";
constexpr std::string_view kDefault = "default";
constexpr milliseconds kStartLimit{90'000};
constexpr milliseconds kStartPause{20};
constexpr milliseconds kAnswerLimit{5'000};
constexpr milliseconds kRestartLimit{90'000};
// A bridge's exit code when what it needs is not installed.
constexpr int kNotInstalled = 41;
constexpr uint64_t kMaxComplaint = 4096;

// What the bridges look for themselves.
constexpr std::string_view kWhatIsThere =
    "python3 -I -c 'import sys, importlib.util as u; "
    "sys.exit(not all(map(u.find_spec, (\"ipykernel\", \"jupyter_client\"))))' && echo python; "
    "command -v node > /dev/null && echo node";
constexpr milliseconds kLookLimit{10'000};

constexpr std::array kLanguages = {CodeLanguage::kPython, CodeLanguage::kJavaScript,
                                   CodeLanguage::kTypeScript};

// Nothing: no id of a context.
std::optional<CodeLanguage> LanguageOf(std::string_view id) {
  if (!id.starts_with(kPrefix)) return std::nullopt;
  id.remove_prefix(kPrefix.size());
  for (CodeLanguage language : kLanguages) {
    std::string_view name = LanguageName(language);
    if (id.starts_with(name) && id.substr(name.size()).starts_with('-')) return language;
  }
  return std::nullopt;
}

// Ids become paths.
Result<CodeLanguage> CheckId(std::string_view id) {
  std::optional<CodeLanguage> language = LanguageOf(id);
  bool fits = id.size() <= 64 && std::ranges::all_of(id, [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
              });
  if (!language || !fits) return NoContext(id);
  return *language;
}

std::string_view ProgramOf(CodeLanguage language) {
  return language == CodeLanguage::kPython ? PythonBridge() : JavaScriptBridge();
}

Unexpected NotAvailable(CodeLanguage language, std::string_view why) {
  std::string_view needs = "Python code needs python3-ipykernel";
  if (language == CodeLanguage::kJavaScript) needs = "JavaScript code needs Node.js";
  if (language == CodeLanguage::kTypeScript) needs = "TypeScript code needs node-typescript";
  return Fail(
      Code::kFailedPrecondition,
      fmt::format("{} in the sandbox, which has none{}{}", needs, why.empty() ? "" : ": ", why),
      "INTERPRETER_NOT_AVAILABLE");
}

async::Task<Result<std::string>> PlaceBridge(AgentClient& agent, async::BlockingPool& pool,
                                             CodeLanguage language) {
  std::string_view program = ProgramOf(language);
  // Named after its content: one that is there is the right one, of whatever release.
  std::string path =
      fmt::format("{}/bridge-{}.{}", kFolder, crypto::Sha256Hex(program).substr(0, 16),
                  language == CodeLanguage::kPython ? "py" : "mjs");
  StatFile stat{.path = path};
  CO_ASSIGN(bool there, co_await Exists(agent, std::move(stat)));
  if (there) co_return path;
  WriteFile write{.path = path, .set_mode = true, .mode = 0600, .parents = true};
  CO_TRY(co_await WriteWholeFile(agent, pool, std::move(write), program));
  co_return path;
}

async::Task<Result<void>> CheckRoom(AgentClient& agent) {
  CO_ASSIGN(std::vector<ProcessInfo> all, co_await ListProcesses(agent));
  auto contexts = std::ranges::count_if(all, [](const ProcessInfo& info) {
    return info.status == ProcessStatus::kRunning && LanguageOf(info.id);
  });
  if (std::cmp_less(contexts, kMaxContexts)) co_return Result<void>();
  co_return Fail(Code::kResourceExhausted,
                 fmt::format("the sandbox has {} contexts already; delete one first", contexts),
                 "TOO_MANY_CONTEXTS");
}

// What it has said last.
async::Task<std::string> ComplaintOf(AgentClient& agent, std::string id) {
  std::string text;
  auto reader = co_await ProcessLogReader::Open(agent, std::move(id), 0, kMaxComplaint, false);
  while (reader) {
    Result<ProcessLogReader::Item> item = co_await (*reader)->Next();
    const LogChunk* chunk = item ? std::get_if<LogChunk>(&*item) : nullptr;
    if (chunk == nullptr || text.size() > kMaxComplaint) break;
    text += chunk->data;
  }
  while (text.ends_with('\n')) text.pop_back();
  Error error{.message = text.substr(text.rfind('\n') + 1)};
  co_return CleanAgentError(std::move(error)).message;
}

// Waits until the bridge of this process takes code.
async::Task<Result<void>> WaitForBridge(AgentClient& agent, std::string id, CodeLanguage language) {
  Result<LogMatch> ready = co_await WaitForLog(agent, id, "ready", false, kStartLimit);
  if (ready) co_return Result<void>();
  Error error = std::move(ready).error();
  if (error.reason == "PROCESS_NOT_FOUND") co_return Unexpected(std::move(error));
  if (error.reason != "PROCESS_EXITED_BEFORE_READY") {
    Result<void> stopped = co_await StopProcess(agent, std::move(id));
    (void)stopped;  // the first failure is the one to tell
    if (error.reason != "PROCESS_READY_TIMEOUT") co_return Unexpected(std::move(error));
    co_return Fail(Code::kUnavailable,
                   fmt::format("the interpreter is not ready after {} s", kStartLimit / 1s),
                   "INTERPRETER_NOT_READY");
  }
  Result<ProcessInfo> info = co_await GetProcess(agent, id);
  std::string complaint = co_await ComplaintOf(agent, std::move(id));
  if (info && info->exited.exit_code == kNotInstalled) co_return NotAvailable(language, complaint);
  co_return Fail(Code::kInternal, "the interpreter does not start: " + complaint,
                 "CODE_EXECUTION_ERROR");
}

async::Task<Result<CodeContext>> StartContext(AgentClient& agent, async::BlockingPool& pool,
                                              std::string id, ContextRequest request) {
  CodeLanguage language = request.language;
  CO_TRY(co_await CheckRoom(agent));
  CO_ASSIGN(std::string bridge, co_await PlaceBridge(agent, pool, language));
  std::string folder = fmt::format("{}/{}", kFolder, id);
  protocol::ProcessStart start{.id = id,
                               .argv = {"python3", "-I", bridge, folder},
                               .env = agent.EnvironmentOf({}, std::move(request.env)),
                               .cwd = std::move(request.cwd),
                               .user = {},
                               .display = fmt::format("{} context", LanguageName(language))};
  if (language != CodeLanguage::kPython) {
    start.argv = {"node", bridge, folder, std::string(LanguageName(language))};
  }
  auto started = co_await AskAgent<ProcessInfo>(agent.socket_path(), start);
  if (!started && started.error().reason == "COMMAND_NOT_FOUND") {
    co_return NotAvailable(language, {});
  }
  // Two who want the default one at once share it.
  if (!started && started.error().reason != "PROCESS_ALREADY_EXISTS") {
    co_return Unexpected(std::move(started).error());
  }
  Result<void> ready = co_await WaitForBridge(agent, id, language);
  for (int again = 0; !ready && ready.error().reason == "PROCESS_NOT_FOUND" && again < 50;
       ++again) {
    co_await async::Sleep(kStartPause);  // the other one has only begun to start it
    ready = co_await WaitForBridge(agent, id, language);
  }
  CO_TRY(std::move(ready));
  Result<CodeContext> context = co_await GetContext(agent, std::move(id));
  co_return context;
}

async::Task<Result<BridgeDone>> AskBridge(AgentClient& agent, std::string id, std::string operation,
                                          milliseconds limit) {
  CO_TRY(CheckId(id));
  CO_ASSIGN(BridgeLink link, co_await BridgeLink::Open(agent, std::move(id),
                                                       fmt::format(R"({{"op":"{}"}})", operation)));
  CO_ASSIGN(BridgeMessage message, co_await link.Next(limit));
  auto* done = std::get_if<BridgeDone>(&message);
  if (done == nullptr) {
    co_return Fail(Code::kInternal, "the interpreter's bridge answers another question",
                   "CODE_EXECUTION_ERROR");
  }
  co_return std::move(*done);
}

}  // namespace

std::string_view LanguageName(CodeLanguage language) {
  switch (language) {
    case CodeLanguage::kPython:
      return "python";
    case CodeLanguage::kJavaScript:
      return "javascript";
    case CodeLanguage::kTypeScript:
      return "typescript";
  }
  return "python";
}

Result<CodeLanguage> ParseLanguage(std::string_view name) {
  for (CodeLanguage language : kLanguages) {
    if (LanguageName(language) == name) return language;
  }
  if (name == "py" || name == "python3") return CodeLanguage::kPython;
  if (name == "js" || name == "node") return CodeLanguage::kJavaScript;
  if (name == "ts") return CodeLanguage::kTypeScript;
  return Fail(Code::kInvalidArgument, R"("language" is "python", "javascript" or "typescript")",
              "VALIDATION_FAILED");
}

std::string_view FormName(OutputForm form) {
  static constexpr std::array<std::string_view, kOutputForms> kNames = {
      "text", "html",  "markdown", "svg",        "png",  "jpeg",
      "pdf",  "latex", "json",     "javascript", "chart"};
  return kNames.at(static_cast<size_t>(form));
}

Unexpected NoContext(std::string_view id) {
  return Fail(Code::kNotFound,
              fmt::format("there is no context {:.80} in the sandbox; contexts end with it", id),
              "CONTEXT_NOT_FOUND");
}

async::Task<Result<CodeContext>> CreateContext(AgentClient& agent, async::BlockingPool& pool,
                                               ContextRequest request) {
  CO_TRY(ValidateEnv(request.env));
  std::string id =
      fmt::format("{}{}-{}", kPrefix, LanguageName(request.language), crypto::RandomHex(6));
  auto context = co_await StartContext(agent, pool, std::move(id), std::move(request));
  co_return context;
}

async::Task<Result<CodeContext>> DefaultContext(AgentClient& agent, async::BlockingPool& pool,
                                                CodeLanguage language) {
  std::string id = fmt::format("{}{}-{}", kPrefix, LanguageName(language), kDefault);
  Result<CodeContext> context = co_await GetContext(agent, id);
  if (context || context.error().reason != "CONTEXT_NOT_FOUND") co_return context;
  ContextRequest request{.language = language};
  context = co_await StartContext(agent, pool, std::move(id), std::move(request));
  co_return context;
}

async::Task<Result<std::vector<CodeLanguage>>> InstalledLanguages(AgentClient& agent) {
  ExecRequest request;
  request.argv = {"sh", "-c", std::string(kWhatIsThere)};
  request.cwd = "/";
  request.timeout = kLookLimit;
  CO_ASSIGN(auto execution, co_await StartExec(agent, std::move(request)));
  CO_ASSIGN(Captured said, co_await Capture(*execution, kMaxComplaint));
  std::vector<CodeLanguage> there;
  if (said.out.contains("python\n")) there.push_back(CodeLanguage::kPython);
  if (said.out.contains("node\n")) there.push_back(CodeLanguage::kJavaScript);
  if (there.empty() && said.outcome.timed_out) {
    co_return Fail(
        Code::kUnavailable,
        fmt::format("the sandbox has not said within {} s what it can run", kLookLimit / 1s),
        "INTERPRETER_NOT_READY");
  }
  if (there.empty()) co_return NotAvailable(CodeLanguage::kPython, "neither has it Node.js");
  co_return there;
}

async::Task<Result<std::vector<CodeContext>>> ListContexts(AgentClient& agent) {
  CO_ASSIGN(std::vector<ProcessInfo> all, co_await ListProcesses(agent));
  std::vector<CodeContext> contexts;
  for (const ProcessInfo& info : all) {
    std::optional<CodeLanguage> language = LanguageOf(info.id);
    if (!language || info.status != ProcessStatus::kRunning) continue;
    if (contexts.size() == kMaxContexts) break;
    Result<CodeContext> context = co_await GetContext(agent, info.id);
    // One that is just beginning or ending is told of by what its process says.
    auto started = static_cast<int64_t>(info.started_ms);
    contexts.push_back(context ? *std::move(context)
                               : CodeContext{.id = info.id,
                                             .language = *language,
                                             .cwd = info.cwd,
                                             .created_ms = started,
                                             .last_used_ms = started});
  }
  co_return contexts;
}

async::Task<Result<CodeContext>> GetContext(AgentClient& agent, std::string id) {
  CO_ASSIGN(CodeLanguage language, CheckId(id));
  CO_ASSIGN(BridgeDone status, co_await AskBridge(agent, id, "status", kAnswerLimit));
  co_return CodeContext{.id = std::move(id),
                        .language = language,
                        .cwd = std::move(status.cwd),
                        .created_ms = status.created_ms,
                        .last_used_ms = status.used_ms,
                        .execution_count = status.count,
                        .busy = status.busy};
}

async::Task<Result<void>> DeleteContext(AgentClient& agent, std::string id) {
  CO_TRY(CheckId(id));
  Result<ProcessInfo> info = co_await GetProcess(agent, id);
  if (!info && info.error().reason != "PROCESS_NOT_FOUND") {
    co_return Unexpected(std::move(info).error());
  }
  if (!info || info->status != ProcessStatus::kRunning) co_return NoContext(id);
  CO_TRY(co_await StopProcess(agent, std::move(id)));
  co_return Result<void>();
}

async::Task<Result<void>> InterruptContext(AgentClient& agent, std::string id) {
  CO_TRY(co_await AskBridge(agent, std::move(id), "interrupt", kAnswerLimit));
  co_return Result<void>();
}

async::Task<Result<void>> RestartContext(AgentClient& agent, std::string id) {
  CO_TRY(co_await AskBridge(agent, std::move(id), "restart", kRestartLimit));
  co_return Result<void>();
}

Result<void> ValidateCode(const CodeRequest& request) {
  if (request.code.size() > kMaxCodeBytes) {
    return Fail(Code::kTooLarge, fmt::format("code has at most {} bytes", kMaxCodeBytes),
                "VALIDATION_FAILED");
  }
  return ValidateEnv(request.env);
}

namespace {

std::string RunLine(const CodeRequest& request) {
  json::Writer writer;
  writer.BeginObject().Field("op", "run").Field("code", request.code);
  writer.Field("timeout_ms", request.timeout.count()).Field("max_output", request.max_output);
  writer.Key("env").BeginObject();
  for (const auto& [name, value] : request.env) writer.Field(name, value);
  writer.EndObject().EndObject();
  return writer.Take();
}

// What its own limits let a bridge say at most, and a little.
constexpr uint64_t kMoreOutput = 1UL << 20U;
// From the end of the code's time to the last word about it: interrupts, then a new kernel.
constexpr milliseconds kAftermath{120'000};

}  // namespace

async::Task<Result<CodeOutcome>> RunCode(AgentClient& agent, std::string context,
                                         CodeRequest request, CodeSink& sink) {
  CO_TRY(CheckId(context));
  CO_ASSIGN(BridgeLink link,
            co_await BridgeLink::Open(agent, std::move(context), RunLine(request)));
  // Others may be before it, each with its own time.
  milliseconds limit = kMostCodeTimeout * 32;
  while (true) {
    CO_ASSIGN(BridgeMessage message, co_await link.Next(limit));
    if (auto* done = std::get_if<BridgeDone>(&message)) co_return done->outcome;
    if (std::holds_alternative<BridgeBegun>(message)) {
      limit = request.timeout + kAftermath;
      continue;
    }
    if (link.bytes() > request.max_output + kMoreOutput) {
      co_return Fail(Code::kInternal, "the interpreter's bridge says more than it may",
                     "CODE_EXECUTION_ERROR");
    }
    CO_TRY(co_await sink.Take(std::get<CodeOutput>(std::move(message))));
  }
}

}  // namespace atl::sandbox
