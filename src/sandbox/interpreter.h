// SPDX-License-Identifier: Apache-2.0
// A code interpreter in a sandbox, once for every dialect. A context is a kernel (Jupyter's for
// Python, one of our own for JavaScript) and a bridge program in front of it, together a background
// process of the sandbox (processes.h): what code has defined lasts until the context is deleted or
// the sandbox stops, with or without a daemon. Nothing of it is kept here. Code of one context runs
// one after the other. Whatever a bridge says is hostile: checked and bounded.
// What a function takes is sandbox->agent() of an acquired sandbox, which is to be held meanwhile.
// Errors: CONTEXT_NOT_FOUND (404), INTERPRETER_NOT_AVAILABLE (409: what it needs is not installed),
// TOO_MANY_CONTEXTS, CONTEXT_BUSY and INTERPRETER_NOT_READY (503), VALIDATION_FAILED,
// AGENT_TOO_OLD.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/runtime.h"
#include "async/task.h"
#include "base/result.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

inline constexpr size_t kMaxContexts = 16;  // of a sandbox
inline constexpr size_t kMaxCodeBytes = 1UL << 20U;
inline constexpr uint64_t kUsualCodeOutput = 16UL << 20U;  // of one run
inline constexpr uint64_t kMostCodeOutput = 64UL << 20U;
inline constexpr std::chrono::milliseconds kUsualCodeTimeout{600'000};
inline constexpr std::chrono::milliseconds kMostCodeTimeout{24L * 3600 * 1000};

enum class CodeLanguage : uint8_t { kPython, kJavaScript, kTypeScript };
std::string_view LanguageName(CodeLanguage language);
// "python", "javascript", "typescript", and "py", "js", "ts", "node". VALIDATION_FAILED.
Result<CodeLanguage> ParseLanguage(std::string_view name);

struct ContextRequest {
  CodeLanguage language = CodeLanguage::kPython;
  std::string cwd = "/workspace";
  std::vector<std::pair<std::string, std::string>> env;  // added to the sandbox's
};

struct CodeContext {
  std::string id;
  CodeLanguage language = CodeLanguage::kPython;
  std::string cwd;  // where it began
  int64_t created_ms = 0;
  int64_t last_used_ms = 0;      // when code was last begun or ended
  uint64_t execution_count = 0;  // since the kernel began
  bool busy = false;
};

// Returns when the kernel takes code.
async::Task<Result<CodeContext>> CreateContext(AgentClient& agent, async::BlockingPool& pool,
                                               ContextRequest request);
// The one that is used when no other is named, which is made when it is not there.
async::Task<Result<CodeContext>> DefaultContext(AgentClient& agent, async::BlockingPool& pool,
                                                CodeLanguage language);
async::Task<Result<std::vector<CodeContext>>> ListContexts(AgentClient& agent);
// Python and JavaScript, as far as what their kernels need is installed; nothing is started.
// INTERPRETER_NOT_AVAILABLE when there is neither.
async::Task<Result<std::vector<CodeLanguage>>> InstalledLanguages(AgentClient& agent);
async::Task<Result<CodeContext>> GetContext(AgentClient& agent, std::string id);
// Ends the kernel with everything that it has started.
async::Task<Result<void>> DeleteContext(AgentClient& agent, std::string id);
// Ends what runs in it as Ctrl-C does. Nothing happens when nothing runs.
async::Task<Result<void>> InterruptContext(AgentClient& agent, std::string id);
// A new kernel in the old one's place. What ran fails with KernelDied.
async::Task<Result<void>> RestartContext(AgentClient& agent, std::string id);

struct CodeRequest {
  std::string code;
  std::vector<std::pair<std::string, std::string>> env;  // for this run
  // Then it is interrupted, and when it does not end within 5 s the kernel is restarted.
  std::chrono::milliseconds timeout = kUsualCodeTimeout;
  uint64_t max_output = kUsualCodeOutput;  // bytes; the rest is dropped
};

// Forms that a result comes in. Binary ones are base64, kJson and kChart are JSON texts.
enum class OutputForm : uint8_t {
  kText,
  kHtml,
  kMarkdown,
  kSvg,
  kPng,
  kJpeg,
  kPdf,
  kLatex,
  kJson,
  kJavaScript,
  kChart,  // of Plotly or Vega
};
inline constexpr size_t kOutputForms = 11;
// "text", "html", "markdown", "svg", "png", "jpeg", "pdf", "latex", "json", "javascript", "chart"
std::string_view FormName(OutputForm form);

struct CodeOutput {
  enum class Kind : uint8_t {
    kStdout,  // text
    kStderr,  // text
    kResult,  // forms: what was displayed, or (is_value) what the last expression is
    kError,   // name, text, traceback: code failed
  };
  Kind kind = Kind::kStdout;
  std::string text;
  std::vector<std::pair<OutputForm, std::string>> forms;
  bool is_value = false;
  std::string name;                    // of the exception's class; or KernelDied
  std::vector<std::string> traceback;  // lines, without escape sequences
};

struct CodeOutcome {
  bool ok = false;         // false: there was a kError, the last one says why
  bool timed_out = false;  // the limit of time has passed
  bool restarted = false;  // a new kernel is there: what code had defined is lost
  bool truncated = false;  // there was more output
  uint64_t execution_count = 0;
  double duration_ms = 0;
};

class CodeSink {
 public:
  virtual ~CodeSink() = default;
  // Returns when more may come; a failure ends the run.
  virtual async::Task<Result<void>> Take(CodeOutput output) = 0;
};

Unexpected NoContext(std::string_view id);
// VALIDATION_FAILED, before anything wakes.
Result<void> ValidateCode(const CodeRequest& request);
// Waits for its turn, runs it and passes on what comes. Being cancelled (the client has left)
// interrupts the code, or takes it out of the queue.
async::Task<Result<CodeOutcome>> RunCode(AgentClient& agent, std::string context,
                                         CodeRequest request, CodeSink& sink);

}  // namespace atl::sandbox
