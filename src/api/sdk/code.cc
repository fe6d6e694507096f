// SPDX-License-Identifier: Apache-2.0
// The code interpreter: contexts and code of them are those of every dialect.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/terms.h"
#include "api/seed/output_events.h"
#include "api/v1/code_json.h"
#include "api/v1/code_run.h"

namespace atl::api::sdk {
namespace {

Result<sandbox::CodeLanguage> LanguageOf(const json::Object& body) {
  ASSIGN(std::optional<std::string> language, body.OptionalText("language"));
  return sandbox::ParseLanguage(language.value_or("python"));
}

// The SDK has a code for each language that may be missing.
Unexpected Missing(Error error, sandbox::CodeLanguage language) {
  if (ReasonOf(error) == "INTERPRETER_NOT_AVAILABLE") {
    bool python = language == sandbox::CodeLanguage::kPython;
    error.reason = python ? "PYTHON_NOT_AVAILABLE" : "JAVASCRIPT_NOT_AVAILABLE";
  }
  return Unexpected(std::move(error));
}

// Healthy is what can run code of one language at least; which ones, it says.
async::Task<Result<std::string>> DoHealth(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  auto languages = co_await sandbox::InstalledLanguages(sandbox->agent());
  if (!languages) {
    co_return Missing(std::move(languages).error(), sandbox::CodeLanguage::kPython);
  }
  json::Writer writer = Success();
  writer.Field("status", "healthy").Key("languages").BeginArray();
  for (sandbox::CodeLanguage language : *languages) {
    writer.String(sandbox::LanguageName(language));
  }
  writer.EndArray();
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoCreate(Call& call) {
  sandbox::ContextRequest request;
  CO_ASSIGN(sandbox::CodeLanguage language, LanguageOf(call.body));
  request.language = language;
  CO_ASSIGN(std::optional<std::string> cwd, call.body.OptionalText("cwd"));
  if (cwd && !cwd->empty()) request.cwd = *std::move(cwd);
  CO_ASSIGN(request.env, EnvOf(call.body, "env_vars"));
  CO_ASSIGN(auto sandbox, co_await Use(call));
  auto context = co_await sandbox::CreateContext(
      sandbox->agent(), call.services.registry.blocking(), std::move(request));
  if (!context) co_return Missing(std::move(context).error(), language);
  json::Writer writer = Success();
  writer.Field("contextId", context->id);
  writer.Field("language", sandbox::LanguageName(context->language)).Field("cwd", context->cwd);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoList(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto all, co_await sandbox::ListContexts(sandbox->agent()));
  json::Writer writer = Success();
  writer.Key("contexts").BeginArray();
  for (const sandbox::CodeContext& context : all) WriteContext(writer, context);
  writer.EndArray();
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoDelete(Call& call) {
  call.About("contextId", call.values.at(0));
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_TRY(co_await sandbox::DeleteContext(sandbox->agent(), call.values.at(0)));
  json::Writer writer = Success();
  writer.Field("contextId", call.values.at(0));
  co_return Finished(writer);
}

Result<CodeRun> ParseRun(const json::Object& body) {
  CodeRun run;
  ASSIGN(run.language, LanguageOf(body));
  ASSIGN(std::optional<std::string> context, body.OptionalText("context_id"));
  run.context = context.value_or("");
  ASSIGN(run.request.code, body.Text("code"));
  ASSIGN(run.request.env, EnvOf(body, "env_vars"));
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeout_ms", {.min = 1, .max = sandbox::kMostCodeTimeout.count()}));
  if (timeout) run.request.timeout = std::chrono::milliseconds(*timeout);
  TRY(sandbox::ValidateCode(run.request));
  return run;
}

class Events : public CodeEvents {
 public:
  explicit Events(std::chrono::milliseconds limit) : limit_(limit) {}

  std::string Of(sandbox::CodeOutput output) override {
    if (output.kind != sandbox::CodeOutput::Kind::kError) return CodeEvent(output);
    // A client takes what it is told last, and only the end says whether time was up.
    error_ = std::move(output);
    return {};
  }

  std::string End(const CodeRun& /*run*/, const Result<sandbox::CodeOutcome>& outcome) override {
    if (!outcome) {
      return ErrorJson(FailureOf(outcome.error()).code, outcome.error().message, {});
    }
    if (outcome->timed_out) {
      std::string text = fmt::format("Execution timed out after {}ms", limit_.count());
      if (outcome->restarted) text += "; what code has defined is lost";
      return ErrorJson("TimeoutError", text, error_ ? error_->traceback : Lines{});
    }
    if (error_) return ErrorJson(error_->name, error_->text, error_->traceback);
    json::Writer writer;
    writer.BeginObject().Field("type", "execution_complete");
    writer.Field("execution_count", outcome->execution_count);
    if (outcome->truncated) writer.Field("truncated", true);
    writer.Field("timestamp", Now()).EndObject();
    return writer.Take();
  }

 private:
  using Lines = std::vector<std::string>;

  static std::string ErrorJson(std::string_view name, std::string_view text, const Lines& lines) {
    json::Writer writer;
    writer.BeginObject().Field("type", "error").Field("ename", name).Field("evalue", text);
    writer.Key("traceback").BeginArray();
    for (const std::string& line : lines) writer.String(line);
    writer.EndArray().Field("timestamp", Now()).EndObject();
    return writer.Take();
  }

  std::chrono::milliseconds limit_;
  std::optional<sandbox::CodeOutput> error_;
};

struct Running {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  CodeRun run;
};

async::Task<Result<Running>> Begin(Call& call) {
  Running running;
  CO_ASSIGN(running.run, ParseRun(call.body));
  if (!running.run.context.empty()) call.About("contextId", running.run.context);
  CO_ASSIGN(running.sandbox, co_await Use(call));
  Result<void> found = co_await FindContext(call.services, running.sandbox->agent(), running.run);
  if (!found) co_return Missing(std::move(found).error(), running.run.language);
  co_return running;
}

async::Task<> DoRun(Call& call) {
  Result<Running> running = co_await Begin(call);
  if (!running) {
    co_await RespondFailure(call.exchange, std::move(running).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  if (!begun) co_return;
  Events events(running->run.request.timeout);
  SendQueue queue(call.exchange);
  co_await async::Race(StreamCode(running->sandbox->agent(), running->run, events, queue),
                       UntilHangup(call, queue));
  co_await FinishStream(call.exchange, queue.complete());
}

}  // namespace

async::Task<> InterpreterHealth(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoHealth, services, std::move(values), exchange);
}

async::Task<> CreateContext(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCreate, services, std::move(values), exchange);
}

async::Task<> ListContexts(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoList, services, std::move(values), exchange);
}

async::Task<> DeleteContext(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoDelete, services, std::move(values), exchange);
}

async::Task<> RunCode(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoRun, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
