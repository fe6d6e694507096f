// SPDX-License-Identifier: Apache-2.0
// What the routes about sandboxes and the pool answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kStates[] = {"creating", "running",   "paused", "stopping",
                                               "stopped",  "restoring", "failed", "deleting"};
inline constexpr std::string_view kAnyStates[] = {"creating", "running",  "paused",
                                                  "stopping", "stopped",  "restoring",
                                                  "failed",   "deleting", "deleted"};
inline constexpr std::string_view kOpencodeStates[] = {"stopped", "starting", "ready", "failed"};

inline constexpr Member kUsageMembers[] = {
    {"at?", kTime, "When this was; it has not run since the daemon started when it is not there."},
    {"cpus?", kNumber, {}},
    {"memory?", kInteger, "Bytes."},
    {"processes?", kInteger, {}},
    {"sent?", kInteger, "Bytes through the network, since it was started."},
    {"received?", kInteger, {}},
    {"disk?", kInteger, "Bytes of its files."},
    {"files?", kInteger, {}},
    {"diskAtLeast?", kTrue, "There is more than was counted."},
    {"oomKills", kInteger, {}},
    {"lastOomAt?", kTime, {}},
};
inline constexpr Shape kUsage = ObjectOf("Usage", kUsageMembers);

inline constexpr Member kPolicyMembers[] = {{"onStop", kBoolean, {}},
                                            {"onStart", kBoolean, {}},
                                            {"interval", kText, "\"15m\", or \"never\"."},
                                            {"paths", kTexts, {}}};
inline constexpr Shape kPolicy = ObjectOf("SnapshotPolicy", kPolicyMembers);

inline constexpr Member kSandboxMembers[] = {
    {"id", kText, {}},
    {"url", kText, "Where a browser finds it."},
    {"state", Words(kStates), {}},
    {"image", kText, {}},
    {"createdAt", kTime, {}},
    {"opencode", Words(kOpencodeStates), {}},
    {"memory", kInteger, "Bytes; the limits are 0 where there is none."},
    {"cpus", kNumber, {}},
    {"pids", kInteger, {}},
    {"disk", kInteger, "Bytes."},
    {"inodes", kInteger, {}},
    {"weight", kInteger, {}},
    {"sleepAfter", kText, "\"10m\", or \"never\"."},
    {"stopAfter", kText, {}},
    {"keepAlive", kBoolean, {}},
    {"snapshots", kPolicy, {}},
    {"usage?", kUsage, {}},
    {"unsaved?", kTrue, "It was stopped without being saved: saveFailure says why."},
    {"saveFailure?", kText, {}},
    {"memoryKept?", kBoolean, "Of one that is stopped: what ran goes on at the next start."},
    {"failure?", kText, "Why it failed."},
};
inline constexpr Shape kSandbox = ObjectOf("Sandbox", kSandboxMembers);
inline constexpr Shape kSandboxes = ListOf(kSandbox);

inline constexpr Member kSandboxListMembers[] = {
    {"sandboxes", kSandboxes, {}}, {"cursor?", kText, "For the next request, if there are more."}};
inline constexpr Shape kSandboxList = ObjectOf("SandboxList", kSandboxListMembers);

inline constexpr Member kRecoveredMembers[] = {
    {"dir", kText, {}}, {"snapshotId", kText, {}}, {"files", kInteger, {}}};
inline constexpr Shape kRecovered = ObjectOf("RestoredDirectory", kRecoveredMembers);
inline constexpr Shape kAllRecovered = ListOf(kRecovered);

inline constexpr Member kCreatedMembers[] = {
    {"id", kText, {}},
    {"url", kText, "Where a browser finds it."},
    {"state", Words(kStates), {}},
    {"opencode", Words(kOpencodeStates), {}},
    {"phases", kMilliseconds, "How long each part of it took."},
    {"restored?", kAllRecovered, "What was put back at its start."},
};
inline constexpr Shape kCreated = ObjectOf("CreatedSandbox", kCreatedMembers);
inline constexpr Shape kAllCreated = ListOf(kCreated);

inline constexpr Member kForkedMembers[] = {
    {"sandboxes", kAllCreated, {}},
    {"files", kInteger, {}},
    {"bytes", kInteger, {}},
    {"shared", kBoolean, "They share the bytes of their files until one changes them."},
    {"frozen", kBoolean, {}},
    {"memory", kBoolean, {}},
    {"copyMs", kNumber, {}},
    {"freezeMs", kNumber, {}},
};
inline constexpr Shape kForked = ObjectOf("Forked", kForkedMembers);

inline constexpr Member kStateMembers[] = {{"id", kText, {}}, {"state", Words(kAnyStates), {}}};
inline constexpr Shape kState = ObjectOf("SandboxState", kStateMembers);

inline constexpr Member kStoppedMembers[] = {
    {"id", kText, {}},
    {"state", Words(kStates), {}},
    {"saved", kBoolean, {}},
    {"snapshots", kTexts, "The ids of what was saved."},
    {"saveFailure?", kText, {}},
    {"memoryKept?", kBoolean, {}},
    {"memoryFailure?", kText, {}},
};
inline constexpr Shape kStopped = ObjectOf("StoppedSandbox", kStoppedMembers);

inline constexpr Member kLimitMembers[] = {
    {"cpus", kNumber, {}},  {"memory", kInteger, {}}, {"processes", kInteger, {}},
    {"disk", kInteger, {}}, {"files", kInteger, {}},  {"weight", kInteger, {}},
};
inline constexpr Shape kLimits = ObjectOf("Limits", kLimitMembers);

inline constexpr Member kSampleMembers[] = {
    {"at", kTime, {}},           {"cpus", kNumber, {}},  {"memory", kInteger, {}},
    {"processes", kInteger, {}}, {"disk", kInteger, {}}, {"sent", kInteger, {}},
    {"received", kInteger, {}},
};
inline constexpr Shape kSample = ObjectOf("UsageSample", kSampleMembers);
inline constexpr Shape kSamples = ListOf(kSample);

inline constexpr Member kUsageReportMembers[] = {
    {"id", kText, {}},
    {"state", Words(kStates), {}},
    {"now", kUsage, {}},
    {"limits", kLimits, "0 where there is none."},
    {"interval", kInteger, "Between the samples; milliseconds."},
    {"history", kSamples, "Ten minutes of it, the oldest first."},
};
inline constexpr Shape kUsageReport = ObjectOf("UsageReport", kUsageReportMembers);

inline constexpr Member kEventMembers[] = {
    {"seq", kInteger, {}}, {"at", kTime, {}},     {"id", kText, "Of the sandbox."},
    {"kind", kText, {}},   {"state?", kText, {}}, {"detail?", kText, {}},
};
inline constexpr Shape kEvent = ObjectOf("SandboxEvent", kEventMembers);
inline constexpr Shape kEvents = ListOf(kEvent);

inline constexpr Member kEventListMembers[] = {{"events", kEvents, {}}};
inline constexpr Shape kEventList = ObjectOf("SandboxEventList", kEventListMembers);

inline constexpr Member kPoolConfigMembers[] = {
    {"warmTarget", kInteger, {}},   {"refreshInterval", kInteger, "Milliseconds."},
    {"min", kInteger, {}},          {"max", kInteger, {}},
    {"maxInstances", kInteger, {}}, {"scaleBatchSize", kInteger, {}},
};
inline constexpr Shape kPoolConfig = ObjectOf("PoolConfig", kPoolConfigMembers);

inline constexpr Member kPoolMembers[] = {
    {"warm", kInteger, {}},
    {"assigned", kInteger, {}},
    {"total", kInteger, {}},
    {"starting", kInteger, {}},
    {"wanted", kInteger, {}},
    {"hits", kInteger, {}},
    {"misses", kInteger, {}},
    {"config", kPoolConfig, {}},
    {"maxInstances", OrNull(kInteger), "null: there is no limit."},
};
inline constexpr Shape kPool = ObjectOf("PoolStats", kPoolMembers);

}  // namespace atl::api::answers
