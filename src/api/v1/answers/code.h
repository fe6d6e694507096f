// SPDX-License-Identifier: Apache-2.0
// What the code interpreter answers.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kLanguages[] = {"python", "javascript", "typescript"};
inline constexpr Member kCodeContextMembers[] = {
    {"id", kText, {}},       {"language", Words(kLanguages), {}},
    {"cwd", kText, {}},      {"createdAt", kTime, {}},
    {"lastUsed", kTime, {}}, {"executionCount", kInteger, {}},
    {"busy", kBoolean, {}},
};
inline constexpr Shape kCodeContext = ObjectOf("CodeContext", kCodeContextMembers);
inline constexpr Shape kCodeContexts = ListOf(kCodeContext);
inline constexpr Member kCodeContextListMembers[] = {{"contexts", kCodeContexts, {}}};
inline constexpr Shape kCodeContextList = ObjectOf("CodeContextList", kCodeContextListMembers);

inline constexpr Member kFormMembers[] = {
    {"text?", kText, {}},
    {"html?", kText, {}},
    {"markdown?", kText, {}},
    {"svg?", kText, {}},
    {"png?", kText, "In base64, as jpeg and pdf."},
    {"jpeg?", kText, {}},
    {"pdf?", kText, {}},
    {"latex?", kText, {}},
    {"json?", kAnything, {}},
    {"javascript?", kText, {}},
    {"chart?", kAnything, {}},
    {"isValue", kBoolean, "The value of the last expression, which was not displayed."},
};
inline constexpr Shape kForms = ObjectOf("CodeResult", kFormMembers);
inline constexpr Shape kAllForms = ListOf(kForms);

inline constexpr Member kCodeErrorMembers[] = {
    {"name", kText, {}}, {"message", kText, {}}, {"traceback", kTexts, {}}};
inline constexpr Shape kCodeError = ObjectOf("CodeError", kCodeErrorMembers);

inline constexpr Member kCodeLogMembers[] = {{"stdout", kTexts, {}}, {"stderr", kTexts, {}}};
inline constexpr Shape kCodeLogs = ObjectOf("CodeLogs", kCodeLogMembers);

inline constexpr Member kCodeOutcomeMembers[] = {
    {"contextId", kText, {}},
    {"success", kBoolean, {}},
    {"executionCount", kInteger, {}},
    {"timedOut", kBoolean, {}},
    {"restarted", kBoolean, "Another kernel has its place, and what was defined is lost."},
    {"truncated", kBoolean, {}},
    {"durationMs", kNumber, {}},
};
inline constexpr Shape kCodeOutcome = ObjectOf("CodeOutcome", kCodeOutcomeMembers);

inline constexpr Member kExecutionMembers[] = {
    {"logs", kCodeLogs, {}}, {"results", kAllForms, {}}, {"error?", kCodeError, {}}};
inline constexpr Shape kExecution = ObjectOf("CodeExecution", kExecutionMembers, &kCodeOutcome);

inline constexpr std::string_view kResultType[] = {"result"};
inline constexpr std::string_view kFailureType[] = {"failure"};
inline constexpr Member kCodeOutputMembers[] = {
    {"type", Words(kOutputTypes), {}}, {"text", kText, {}}, {"timestamp", kTime, {}}};
inline constexpr Member kCodeResultMembers[] = {{"type", Words(kResultType), {}},
                                                {"timestamp", kTime, {}}};
inline constexpr Member kCodeRaisedMembers[] = {{"type", Words(kErrorType), {}},
                                                {"timestamp", kTime, {}}};
inline constexpr Member kCodeCompleteMembers[] = {{"type", Words(kCompleteType), {}},
                                                  {"timestamp", kTime, {}}};
inline constexpr Member kCodeFailureMembers[] = {{"type", Words(kFailureType), {}},
                                                 {"code", kText, {}},
                                                 {"message", kText, {}},
                                                 {"timestamp", kTime, {}}};
inline constexpr Shape kCodeOutput = ObjectOf("CodeOutputEvent", kCodeOutputMembers);
inline constexpr Shape kCodeResult = ObjectOf("CodeResultEvent", kCodeResultMembers, &kForms);
inline constexpr Shape kCodeRaised = ObjectOf("CodeErrorEvent", kCodeRaisedMembers, &kCodeError);
inline constexpr Shape kCodeComplete =
    ObjectOf("CodeCompleteEvent", kCodeCompleteMembers, &kCodeOutcome);
inline constexpr Shape kCodeFailure = ObjectOf("CodeFailureEvent", kCodeFailureMembers);
inline constexpr const Shape* kCodeEvents[] = {&kCodeOutput, &kCodeResult, &kCodeRaised,
                                               &kCodeComplete, &kCodeFailure};
inline constexpr Shape kCodeEvent = OneOf("CodeEvent", kCodeEvents);

}  // namespace atl::api::answers
