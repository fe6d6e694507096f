// SPDX-License-Identifier: Apache-2.0
// What code has said, as JSON: the shapes of an answer and of events.
#pragma once

#include <string>
#include <vector>

#include "json/writer.h"
#include "sandbox/interpreter.h"

namespace atl::api {

void WriteContext(json::Writer& writer, const sandbox::CodeContext& context);

// The members of a result: "text", "html", "png", ...
void WriteForms(json::Writer& writer, const sandbox::CodeOutput& output);
// "name", "message", "traceback".
void WriteCodeError(json::Writer& writer, const sandbox::CodeOutput& output);
// "executionCount", "timedOut", ...
void WriteOutcome(json::Writer& writer, const sandbox::CodeOutcome& outcome);

// {"type": ...} with what belongs to it.
std::string CodeEvent(const sandbox::CodeOutput& output);

// The whole of a run.
std::string CodeAnswer(const std::string& context, const std::vector<sandbox::CodeOutput>& outputs,
                       const sandbox::CodeOutcome& outcome);

}  // namespace atl::api
