// SPDX-License-Identifier: Apache-2.0
#include "api/v1/code_json.h"

#include "api/seed/output_events.h"

namespace atl::api {
namespace {

using sandbox::CodeOutput;

void WriteLog(json::Writer& writer, std::string_view name, CodeOutput::Kind kind,
              const std::vector<CodeOutput>& outputs) {
  writer.Key(name).BeginArray();
  for (const CodeOutput& output : outputs) {
    if (output.kind == kind) writer.String(output.text);
  }
  writer.EndArray();
}

}  // namespace

void WriteContext(json::Writer& writer, const sandbox::CodeContext& context) {
  writer.BeginObject().Field("id", context.id);
  writer.Field("language", sandbox::LanguageName(context.language)).Field("cwd", context.cwd);
  writer.Field("createdAt", IsoTime(context.created_ms));
  writer.Field("lastUsed", IsoTime(context.last_used_ms));
  writer.Field("executionCount", context.execution_count).Field("busy", context.busy).EndObject();
}

void WriteForms(json::Writer& writer, const CodeOutput& output) {
  for (const auto& [form, value] : output.forms) {
    writer.Key(sandbox::FormName(form));
    bool json = form == sandbox::OutputForm::kJson || form == sandbox::OutputForm::kChart;
    if (json) {
      writer.Raw(value);
    } else {
      writer.String(value);
    }
  }
  writer.Field("isValue", output.is_value);
}

void WriteCodeError(json::Writer& writer, const CodeOutput& output) {
  writer.Field("name", output.name).Field("message", output.text);
  writer.Key("traceback").BeginArray();
  for (const std::string& line : output.traceback) writer.String(line);
  writer.EndArray();
}

void WriteOutcome(json::Writer& writer, const sandbox::CodeOutcome& outcome) {
  writer.Field("success", outcome.ok).Field("executionCount", outcome.execution_count);
  writer.Field("timedOut", outcome.timed_out).Field("restarted", outcome.restarted);
  writer.Field("truncated", outcome.truncated).Field("durationMs", outcome.duration_ms);
}

std::string CodeEvent(const CodeOutput& output) {
  json::Writer writer;
  writer.BeginObject();
  switch (output.kind) {
    case CodeOutput::Kind::kStdout:
      writer.Field("type", "stdout").Field("text", output.text);
      break;
    case CodeOutput::Kind::kStderr:
      writer.Field("type", "stderr").Field("text", output.text);
      break;
    case CodeOutput::Kind::kResult:
      writer.Field("type", "result");
      WriteForms(writer, output);
      break;
    case CodeOutput::Kind::kError:
      writer.Field("type", "error");
      WriteCodeError(writer, output);
      break;
  }
  writer.Field("timestamp", IsoTime(NowMs())).EndObject();
  return writer.Take();
}

std::string CodeAnswer(const std::string& context, const std::vector<CodeOutput>& outputs,
                       const sandbox::CodeOutcome& outcome) {
  json::Writer writer;
  writer.BeginObject().Field("contextId", context);
  WriteOutcome(writer, outcome);
  writer.Key("logs").BeginObject();
  WriteLog(writer, "stdout", CodeOutput::Kind::kStdout, outputs);
  WriteLog(writer, "stderr", CodeOutput::Kind::kStderr, outputs);
  writer.EndObject();
  writer.Key("results").BeginArray();
  const CodeOutput* error = nullptr;
  for (const CodeOutput& output : outputs) {
    if (output.kind == CodeOutput::Kind::kError) error = &output;
    if (output.kind != CodeOutput::Kind::kResult) continue;
    writer.BeginObject();
    WriteForms(writer, output);
    writer.EndObject();
  }
  writer.EndArray();
  if (error != nullptr) {
    writer.Key("error").BeginObject();
    WriteCodeError(writer, *error);
    writer.EndObject();
  }
  writer.EndObject();
  return writer.Take();
}

}  // namespace atl::api
