// SPDX-License-Identifier: Apache-2.0
#include "api/v1/code.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/seed/send_queue.h"
#include "api/v1/answers/code.h"
#include "api/v1/code_json.h"
#include "api/v1/code_run.h"
#include "http/sse.h"
#include "json/reader.h"

namespace atl::api {
namespace {

using SandboxPtr = std::shared_ptr<sandbox::Sandbox>;

// What a request is answered with, that comes with a body or not.
template <async::Task<Result<std::string>> (*F)(const Services&, Values, http::Exchange&)>
async::Task<> Answer(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await F(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

Result<sandbox::CodeLanguage> ParseLanguageOf(const json::Object& body) {
  ASSIGN(std::optional<std::string> language, body.OptionalText("language"));
  return sandbox::ParseLanguage(language.value_or("python"));
}

Result<sandbox::ContextRequest> ParseCreate(const json::Object& body) {
  sandbox::ContextRequest request;
  ASSIGN(request.language, ParseLanguageOf(body));
  ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  if (cwd) request.cwd = *std::move(cwd);
  ASSIGN(request.env, body.OptionalTextMap("env"));
  return request;
}

async::Task<Result<std::string>> DoCreate(const Services& services, Values values,
                                          http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  CO_ASSIGN(sandbox::ContextRequest request, ParseCreate(body));
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_ASSIGN(sandbox::CodeContext context,
            co_await sandbox::CreateContext(sandbox->agent(), services.registry.blocking(),
                                            std::move(request)));
  json::Writer writer;
  WriteContext(writer, context);
  co_return writer.Take();
}

async::Task<Result<std::string>> DoList(const Services& services, Values values,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_ASSIGN(auto all, co_await sandbox::ListContexts(sandbox->agent()));
  json::Writer writer;
  writer.BeginObject().Key("contexts").BeginArray();
  for (const sandbox::CodeContext& context : all) WriteContext(writer, context);
  writer.EndArray().EndObject();
  co_return writer.Take();
}

async::Task<Result<std::string>> DoShow(const Services& services, Values values,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_ASSIGN(auto context, co_await sandbox::GetContext(sandbox->agent(), std::move(values.at(1))));
  json::Writer writer;
  WriteContext(writer, context);
  co_return writer.Take();
}

using Change = async::Task<Result<void>> (*)(sandbox::AgentClient& agent, std::string id);

template <Change F>
async::Task<Result<std::string>> DoChange(const Services& services, Values values,
                                          http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_TRY(co_await F(sandbox->agent(), std::move(values.at(1))));
  co_return R"({"success":true})";
}

struct Wanted {
  std::string sandbox;
  CodeRun run;
  bool events = false;
};

Result<Wanted> ParseRun(const json::Object& body) {
  Wanted wanted;
  ASSIGN(wanted.run.language, ParseLanguageOf(body));
  ASSIGN(std::optional<std::string> context, body.OptionalText("context"));
  wanted.run.context = context.value_or("");
  sandbox::CodeRequest& request = wanted.run.request;
  ASSIGN(request.code, body.Text("code"));
  ASSIGN(request.env, body.OptionalTextMap("env"));
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeoutMs", {.min = 1, .max = sandbox::kMostCodeTimeout.count()}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  ASSIGN(std::optional<int64_t> most,
         body.OptionalInt("maxOutputBytes",
                          {.min = 0, .max = static_cast<int64_t>(sandbox::kMostCodeOutput)}));
  if (most) request.max_output = static_cast<uint64_t>(*most);
  TRY(sandbox::ValidateCode(request));
  return wanted;
}

class Collecting : public sandbox::CodeSink {
 public:
  async::Task<Result<void>> Take(sandbox::CodeOutput output) override {
    // A traceback is told whatever came before, and so may be told again and again.
    if (output.kind == sandbox::CodeOutput::Kind::kError) {
      std::erase_if(outputs, [](const sandbox::CodeOutput& former) {
        return former.kind == sandbox::CodeOutput::Kind::kError;
      });
    }
    outputs.push_back(std::move(output));
    co_return Result<void>();
  }

  std::vector<sandbox::CodeOutput> outputs;
};

using Outcome = Result<sandbox::CodeOutcome>;

async::Task<> RunInto(sandbox::AgentClient& agent, CodeRun& run, sandbox::CodeSink& sink,
                      Outcome& outcome) {
  outcome = co_await sandbox::RunCode(agent, run.context, std::move(run.request), sink);
}

async::Task<> AnswerWhole(http::Exchange& exchange, sandbox::AgentClient& agent, CodeRun& run) {
  Outcome outcome = Fail(Code::kCancelled, "the client has gone away");
  Collecting sink;
  co_await async::Race(RunInto(agent, run, sink, outcome), exchange.WaitForHangup());
  Result<std::string> json = Unexpected(Error{});
  if (outcome) {
    json = CodeAnswer(run.context, sink.outputs, *outcome);
  } else {
    json = Unexpected(std::move(outcome).error());
  }
  co_await RespondResult(exchange, std::move(json));
}

class Events : public CodeEvents {
 public:
  std::string Of(sandbox::CodeOutput output) override { return CodeEvent(output); }

  std::string End(const CodeRun& run, const Result<sandbox::CodeOutcome>& outcome) override {
    json::Writer writer;
    writer.BeginObject();
    if (outcome) {
      writer.Field("type", "complete").Field("contextId", run.context);
      WriteOutcome(writer, *outcome);
    } else {
      writer.Field("type", "failure").Field("code", ReasonOf(outcome.error()));
      writer.Field("message", outcome.error().message);
    }
    writer.Field("timestamp", IsoTime(NowMs())).EndObject();
    return writer.Take();
  }
};

async::Task<> AnswerStream(http::Exchange& exchange, sandbox::AgentClient& agent, CodeRun& run) {
  Result<void> begun = co_await exchange.StartResponse(http::EventStreamHead());
  if (!begun) {
    exchange.Abort();
    co_return;
  }
  Events events;
  SendQueue queue(exchange);
  co_await async::Race(StreamCode(agent, run, events, queue), exchange.WaitForHangup());
  co_await FinishStream(exchange, queue.complete());
}

// The sandbox, with a context in `wanted`.
async::Task<Result<SandboxPtr>> Begin(const Services& services, Wanted& wanted,
                                      http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(wanted.sandbox), exchange));
  if (wanted.run.context.empty() || wanted.events) {
    CO_TRY(co_await FindContext(services, sandbox->agent(), wanted.run));
  }
  co_return sandbox;
}

async::Task<Result<Wanted>> ReadRun(Values values, http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  CO_ASSIGN(Wanted wanted, ParseRun(body));
  wanted.sandbox = std::move(values.at(0));
  if (values.size() > 1) wanted.run.context = std::move(values.at(1));
  wanted.events =
      http::ListContains(exchange.request().headers.Joined("Accept"), "text/event-stream");
  co_return wanted;
}

async::Task<> Run(const Services& services, Values values, http::Exchange& exchange) {
  Result<Wanted> wanted = co_await ReadRun(std::move(values), exchange);
  Result<SandboxPtr> sandbox = Unexpected(Error{});
  if (wanted) sandbox = co_await Begin(services, *wanted, exchange);
  if (!wanted || !sandbox) {
    Error error = wanted ? std::move(sandbox).error() : std::move(wanted).error();
    co_await http::RespondError(exchange, std::move(error));
  } else if (wanted->events) {
    co_await AnswerStream(exchange, (*sandbox)->agent(), wanted->run);
  } else {
    co_await AnswerWhole(exchange, (*sandbox)->agent(), wanted->run);
  }
}

constexpr Field kLanguage = {.name = "language",
                             .about = "\"python\" (usual), \"javascript\" or \"typescript\"."};
constexpr Field kCode = {.name = "code", .about = "At most 1 MiB.", .required = true};
constexpr Field kRunEnv = {.name = "env", .kind = Kind::kTextMap, .about = "For this run alone."};
constexpr Field kTimeout = {
    .name = "timeoutMs",
    .kind = Kind::kInteger,
    .about = "Then it is interrupted, and 5 s later the kernel is restarted. 10 minutes.",
    .min = 1,
    .max = static_cast<double>(sandbox::kMostCodeTimeout.count())};
constexpr Field kMaxOutput = {.name = "maxOutputBytes",
                              .kind = Kind::kInteger,
                              .about = "Of all output; the rest is dropped. 16 MiB.",
                              .min = 0,
                              .max = static_cast<double>(sandbox::kMostCodeOutput)};

constexpr Field kCreateFields[] = {
    kLanguage,
    {.name = "cwd", .about = "Where it begins; /workspace when it is not there."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's."},
};
constexpr Field kRunFields[] = {kCode, kRunEnv, kTimeout, kMaxOutput};
constexpr Field kCodeFields[] = {
    kCode,
    kLanguage,
    {.name = "context", .about = "The id of a context; the language's own when it is not there."},
    kRunEnv,
    kTimeout,
    kMaxOutput};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/code",
     .operation = "runCode",
     .summary = "Runs code in the default context of its language.",
     .handler = Run,
     .answer = Media::kEvents,
     .returns = &answers::kExecution,
     .streams = &answers::kCodeEvent,
     .body = Media::kJson,
     .fields = kCodeFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/contexts",
     .operation = "createContext",
     .summary =
         "Starts an interpreter, in which what code defines lasts until it is deleted or the "
         "sandbox stops.",
     .handler = Answer<DoCreate>,
     .returns = &answers::kCodeContext,
     .body = Media::kJson,
     .fields = kCreateFields},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/contexts",
     .operation = "listContexts",
     .summary = "The contexts that there are.",
     .handler = Answer<DoList>,
     .returns = &answers::kCodeContextList},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/contexts/{context}",
     .operation = "getContext",
     .summary = "One context.",
     .handler = Answer<DoShow>,
     .returns = &answers::kCodeContext},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/contexts/{context}",
     .operation = "deleteContext",
     .summary = "Ends it with what its code has started, also in sessions of its own (setsid), "
                "unless that has no ATOLL_PROCESS in its environment or runs as another user.",
     .handler = Answer<DoChange<sandbox::DeleteContext>>,
     .returns = &answers::kDone},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/contexts/{context}/run",
     .operation = "runInContext",
     .summary = "Runs code, after what was asked for before. Its output and results as JSON, or as "
                "they come.",
     .handler = Run,
     .answer = Media::kEvents,
     .returns = &answers::kExecution,
     .streams = &answers::kCodeEvent,
     .body = Media::kJson,
     .fields = kRunFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/contexts/{context}/interrupt",
     .operation = "interruptContext",
     .summary = "Ends what runs in it as Ctrl-C does.",
     .handler = Answer<DoChange<sandbox::InterruptContext>>,
     .returns = &answers::kDone},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/contexts/{context}/restart",
     .operation = "restartContext",
     .summary = "Begins anew: what code has defined is lost.",
     .handler = Answer<DoChange<sandbox::RestartContext>>,
     .returns = &answers::kDone},
};

}  // namespace

std::span<const Route> CodeRoutes() { return kRoutes; }

}  // namespace atl::api
