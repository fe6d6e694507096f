// SPDX-License-Identifier: Apache-2.0
// What many answers have in common, and failures.
#pragma once

#include "api/v1/shape.h"

namespace atl::api::answers {

inline constexpr Shape kTexts = ListOf(kText);
inline constexpr Shape kMilliseconds = MapOf(kNumber);  // by the name of a phase

inline constexpr Member kDoneMembers[] = {{"success", kTrue, {}}};
inline constexpr Shape kDone = ObjectOf("Done", kDoneMembers);

inline constexpr Member kOkMembers[] = {{"ok", kTrue, {}}};
inline constexpr Shape kOk = ObjectOf("Ok", kOkMembers);

inline constexpr Member kContextMembers[] = {
    {"requestId", kText, "As X-Request-Id has it."}, {"method", kText, {}}, {"path", kText, {}}};
inline constexpr Shape kErrorContext = ObjectOf("ErrorContext", kContextMembers);

inline constexpr Member kErrorMembers[] = {
    {"code", kText, "The reason: SANDBOX_NOT_FOUND, ..."},
    {"message", kText, "What was tried, on what, and why it failed."},
    {"context?", kErrorContext, "Which request it was."},
    {"suggestion?", kText, "What may help."},
};
inline constexpr Shape kError = ObjectOf("Error", kErrorMembers);

// The last event of a stream that has failed, in the two words that there are for it.
inline constexpr std::string_view kErrorType[] = {"error"};
inline constexpr Member kErrorEventMembers[] = {
    {"type", Words(kErrorType), {}}, {"code", kText, {}}, {"message", kText, {}}};
inline constexpr Shape kErrorEvent = ObjectOf("ErrorEvent", kErrorEventMembers);

inline constexpr Member kOutputErrorMembers[] = {{"type", Words(kErrorType), {}},
                                                 {"error", kText, "What failed, and why."},
                                                 {"code", kText, {}},
                                                 {"timestamp?", kTime, {}}};
inline constexpr Shape kOutputError = ObjectOf("OutputErrorEvent", kOutputErrorMembers);

inline constexpr std::string_view kCompleteType[] = {"complete"};
inline constexpr std::string_view kProgressType[] = {"progress"};
inline constexpr std::string_view kStartType[] = {"start"};
inline constexpr std::string_view kOutputTypes[] = {"stdout", "stderr"};

}  // namespace atl::api::answers
