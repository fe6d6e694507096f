// SPDX-License-Identifier: Apache-2.0
// What the routes about commands, sessions, processes, code and terminals answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kEncodings[] = {"utf-8", "base64"};

inline constexpr Member kOutcomeMembers[] = {
    {"success", kBoolean, {}},
    {"exitCode", kInteger, "128 and the signal's number when one has ended it; 124: it timed out."},
    {"signal?", kText, "\"SIGKILL\", ..."},
    {"durationMs", kNumber, {}},
    {"timedOut", kBoolean, {}},
    {"truncated", kBoolean, "There was more output than maxOutputBytes."},
    {"oomKilled", kBoolean, {}},
    {"cpuMs", kNumber, {}},
    {"maxRssBytes", kInteger, {}},
    {"pid", kInteger, {}},
};
inline constexpr Shape kOutcome = ObjectOf("ExecOutcome", kOutcomeMembers);

inline constexpr Member kExecMembers[] = {
    {"stdout", kText, {}},
    {"stdoutEncoding", Words(kEncodings), {}},
    {"stdoutTruncated?", kTrue, {}},
    {"stderr", kText, {}},
    {"stderrEncoding", Words(kEncodings), {}},
    {"stderrTruncated?", kTrue, {}},
};
inline constexpr Shape kExec = ObjectOf("ExecResult", kExecMembers, &kOutcome);

inline constexpr Member kStartMembers[] = {{"type", Words(kStartType), {}},
                                           {"command", kText, {}},
                                           {"pid?", kInteger, {}},
                                           {"timestamp", kTime, {}}};
inline constexpr Shape kStart = ObjectOf("StartEvent", kStartMembers);

inline constexpr Member kOutputMembers[] = {
    {"type", Words(kOutputTypes), {}},
    {"data?", kText, {}},
    {"base64?", kText, "Instead, when it is no text."},
    {"timestamp", kTime, {}},
};
inline constexpr Shape kOutput = ObjectOf("OutputEvent", kOutputMembers);

inline constexpr Member kExecCompleteMembers[] = {{"type", Words(kCompleteType), {}},
                                                  {"timestamp", kTime, {}}};
inline constexpr Shape kExecComplete =
    ObjectOf("ExecCompleteEvent", kExecCompleteMembers, &kOutcome);
inline constexpr const Shape* kExecEvents[] = {&kStart, &kOutput, &kExecComplete, &kOutputError};
inline constexpr Shape kExecEvent = OneOf("ExecEvent", kExecEvents);

inline constexpr Member kRunCompleteMembers[] = {
    {"type", Words(kCompleteType), {}}, {"exitCode", kInteger, {}}, {"timedOut?", kTrue, {}},
    {"outOfMemory?", kTrue, {}},        {"oomKilled?", kTrue, {}},  {"timestamp", kTime, {}}};
inline constexpr Shape kRunComplete = ObjectOf("RunCompleteEvent", kRunCompleteMembers);
inline constexpr const Shape* kRunEvents[] = {&kStart, &kOutput, &kRunComplete, &kOutputError};
inline constexpr Shape kRunEvent = OneOf("RunEvent", kRunEvents);

inline constexpr Member kSessionMembers[] = {
    {"id", kText, {}},      {"cwd", kText, {}},       {"pid", kInteger, {}},
    {"user?", kText, {}},   {"createdAt", kTime, {}}, {"commands", kInteger, {}},
    {"busy", kBoolean, {}},
};
inline constexpr Shape kSession = ObjectOf("Session", kSessionMembers);
inline constexpr Shape kSessions = ListOf(kSession);
inline constexpr Member kSessionListMembers[] = {{"sessions", kSessions, {}}};
inline constexpr Shape kSessionList = ObjectOf("SessionList", kSessionListMembers);

inline constexpr std::string_view kProcessStates[] = {"running", "exited", "killed", "error"};
inline constexpr std::string_view kRestarts[] = {"never", "on-failure", "always"};
inline constexpr Member kProcessMembers[] = {
    {"id", kText, {}},
    {"command", kText, {}},
    {"status", Words(kProcessStates), {}},
    {"pid", kInteger, {}},
    {"cwd", kText, {}},
    {"user?", kText, {}},
    {"restart", Words(kRestarts), {}},
    {"restarts", kInteger, {}},
    {"service?", kTrue, {}},
    {"keepAwake?", kBoolean, {}},
    {"startTime?", kTime, {}},
    {"endTime?", kTime, {}},
    {"exitCode?", kInteger, {}},
    {"signal?", kText, {}},
    {"oomKilled?", kBoolean, {}},
    {"cpuMs?", kNumber, {}},
    {"maxRssBytes?", kInteger, {}},
    {"error?", kText, "Why it could not be started."},
    {"logBegin", kInteger, "The offset of the oldest output that is kept."},
    {"logEnd", kInteger, {}},
};
inline constexpr Shape kProcess = ObjectOf("Process", kProcessMembers);
inline constexpr Shape kProcesses = ListOf(kProcess);
inline constexpr Member kProcessListMembers[] = {{"processes", kProcesses, {}}};
inline constexpr Shape kProcessList = ObjectOf("ProcessList", kProcessListMembers);

inline constexpr Member kChunkMembers[] = {{"stream", Words(kOutputTypes), {}},
                                           {"offset", kInteger, {}},
                                           {"time", kTime, {}},
                                           {"data?", kText, {}},
                                           {"base64?", kText, "Instead, when it is no text."}};
inline constexpr Shape kChunk = ObjectOf("LogChunk", kChunkMembers);
inline constexpr Shape kChunks = ListOf(kChunk);
inline constexpr Member kLogMembers[] = {
    {"chunks", kChunks, {}}, {"nextOffset", kInteger, {}}, {"process", kProcess, {}}};
inline constexpr Shape kLogs = ObjectOf("ProcessLogs", kLogMembers);

inline constexpr std::string_view kExitType[] = {"exit"};
inline constexpr Member kLogOutputMembers[] = {{"offset", kInteger, {}}};
inline constexpr Shape kLogOutput = ObjectOf("LogOutputEvent", kLogOutputMembers, &kOutput);
inline constexpr Member kExitMembers[] = {
    {"type", Words(kExitType), {}}, {"exitCode", kInteger, {}}, {"process", kProcess, {}}};
inline constexpr Shape kExit = ObjectOf("ProcessExitEvent", kExitMembers);
inline constexpr const Shape* kLogEvents[] = {&kLogOutput, &kExit, &kOutputError};
inline constexpr Shape kLogEvent = OneOf("LogEvent", kLogEvents);

inline constexpr std::string_view kForExit[] = {"exit"};
inline constexpr std::string_view kForLog[] = {"log"};
inline constexpr std::string_view kForPort[] = {"port"};
inline constexpr Member kWaitedExitMembers[] = {
    {"for", Words(kForExit), {}}, {"exitCode", kInteger, {}}, {"process", kProcess, {}}};
inline constexpr Member kWaitedLogMembers[] = {{"for", Words(kForLog), {}},
                                               {"stream", Words(kOutputTypes), {}},
                                               {"line", kText, {}},
                                               {"groups", kTexts, "What the expression caught."}};
inline constexpr Member kWaitedPortMembers[] = {{"for", Words(kForPort), {}},
                                                {"port", kInteger, {}},
                                                {"status?", kInteger, "What it answered."}};
inline constexpr Shape kWaitedExit = ObjectOf("WaitedForExit", kWaitedExitMembers);
inline constexpr Shape kWaitedLog = ObjectOf("WaitedForLog", kWaitedLogMembers);
inline constexpr Shape kWaitedPort = ObjectOf("WaitedForPort", kWaitedPortMembers);
inline constexpr const Shape* kAllWaited[] = {&kWaitedExit, &kWaitedLog, &kWaitedPort};
inline constexpr Shape kWaited = OneOf("Waited", kAllWaited);

inline constexpr Member kTerminalMembers[] = {
    {"name", kText, {}},       {"command", kText, {}},      {"pid", kInteger, {}},
    {"running", kBoolean, {}}, {"exitCode?", kInteger, {}}, {"cols", kInteger, {}},
    {"rows", kInteger, {}},    {"viewers", kInteger, {}},   {"ageMs", kInteger, {}},
};
inline constexpr Shape kTerminal = ObjectOf("Terminal", kTerminalMembers);
inline constexpr Shape kTerminals = ListOf(kTerminal);
inline constexpr Member kTerminalListMembers[] = {{"terminals", kTerminals, {}}};
inline constexpr Shape kTerminalList = ObjectOf("TerminalList", kTerminalListMembers);

}  // namespace atl::api::answers
