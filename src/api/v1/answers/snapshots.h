// SPDX-License-Identifier: Apache-2.0
// What the routes about snapshots answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kConsistencies[] = {"frozen", "best-effort"};

inline constexpr Member kTakenMembers[] = {
    {"snapshotId", kText, {}},
    {"dir", kText, {}},
    {"name", kText, {}},
    {"trigger", kText, "\"manual\", \"stop\", ..."},
    {"bytesAdded", kInteger, {}},
    {"bytesTotal", kInteger, {}},
    {"files", kInteger, {}},
    {"filesChanged", kInteger, {}},
    {"consistency", Words(kConsistencies), {}},
    {"changedWhileRead", kInteger, {}},
    {"skipped", kInteger, {}},
    {"skippedPaths?", kTexts, {}},
    {"unchanged?", kTrue, "It is the one that there was before."},
    {"freezeMs", kNumber, {}},
    {"durationMs", kNumber, {}},
    {"storeRequests", kInteger, {}},
    {"phases", kMilliseconds, {}},
};
inline constexpr Shape kTaken = ObjectOf("TakenSnapshot", kTakenMembers);

inline constexpr Member kRestoredMembers[] = {
    {"snapshotId", kText, {}},
    {"dir", kText, {}},
    {"files", kInteger, {}},
    {"bytesTotal", kInteger, {}},
    {"filesWritten", kInteger, {}},
    {"bytesWritten", kInteger, {}},
    {"filesKept", kInteger, {}},
    {"removed", kInteger, {}},
    {"specialSkipped", kInteger, {}},
    {"piecewise?", kTrue, "Not at once: there was no room for both."},
    {"freezeMs", kNumber, {}},
    {"durationMs", kNumber, {}},
    {"phases", kMilliseconds, {}},
};
inline constexpr Shape kRestored = ObjectOf("RestoredSnapshot", kRestoredMembers);

inline constexpr Member kProgressMembers[] = {
    {"type", Words(kProgressType), {}}, {"phase", kText, {}},          {"filesDone", kInteger, {}},
    {"filesTotal", kInteger, {}},       {"bytesDone", kInteger, {}},   {"bytesTotal", kInteger, {}},
    {"bytesPerSecond?", kNumber, {}},   {"secondsLeft?", kNumber, {}},
};
inline constexpr Member kSnapshotCompleteMembers[] = {{"type", Words(kCompleteType), {}}};
inline constexpr Shape kProgress = ObjectOf("ProgressEvent", kProgressMembers);
inline constexpr Shape kTakenEvent =
    ObjectOf("SnapshotCompleteEvent", kSnapshotCompleteMembers, &kTaken);
inline constexpr Shape kRestoredEvent =
    ObjectOf("RestoreCompleteEvent", kSnapshotCompleteMembers, &kRestored);
inline constexpr const Shape* kTakenEvents[] = {&kProgress, &kTakenEvent, &kErrorEvent};
inline constexpr const Shape* kRestoredEvents[] = {&kProgress, &kRestoredEvent, &kErrorEvent};
inline constexpr Shape kSnapshotEvent = OneOf("SnapshotEvent", kTakenEvents);
inline constexpr Shape kRestoreEvent = OneOf("RestoreEvent", kRestoredEvents);

inline constexpr Member kSnapshotMembers[] = {
    {"snapshotId", kText, {}},
    {"sandbox", kText, {}},
    {"dir", kText, {}},
    {"name", kText, {}},
    {"trigger", kText, {}},
    {"createdAt", kTime, {}},
    {"expiresAt?", kTime, {}},
    {"pinned", kBoolean, {}},
    {"consistency", Words(kConsistencies), {}},
    {"tags", kTexts, {}},
    {"parent?", kText, {}},
    {"tree", kText, {}},
    {"hostname", kText, {}},
    {"files?", kInteger, {}},
    {"bytes?", kInteger, {}},
    {"bytesAdded?", kInteger, {}},
    {"filesNew?", kInteger, {}},
    {"filesChanged?", kInteger, {}},
};
inline constexpr Shape kSnapshot = ObjectOf("Snapshot", kSnapshotMembers);
inline constexpr Shape kSnapshots = ListOf(kSnapshot);
inline constexpr Member kSnapshotListMembers[] = {
    {"snapshots", kSnapshots, {}}, {"cursor?", kText, "For the next request, if there are more."}};
inline constexpr Shape kSnapshotList = ObjectOf("SnapshotList", kSnapshotListMembers);

inline constexpr std::string_view kNodeTypes[] = {"file",   "dir",    "symlink", "fifo",
                                                  "socket", "device", "unknown"};
inline constexpr Member kNodeMembers[] = {
    {"name", kText, {}},          {"nameBase64?", kText, {}}, {"type", Words(kNodeTypes), {}},
    {"size", kInteger, {}},       {"mode", kText, {}},        {"uid", kInteger, {}},
    {"gid", kInteger, {}},        {"mtime", kTime, {}},       {"target?", kText, {}},
    {"targetBase64?", kText, {}},
};
inline constexpr Shape kNode = ObjectOf("SnapshotNode", kNodeMembers);
inline constexpr Shape kNodes = ListOf(kNode);
inline constexpr Member kTreeMembers[] = {
    {"snapshotId", kText, {}},
    {"path", kText, {}},
    {"node", kNode, {}},
    {"entries", kNodes, {}},
    {"cursor?", kText, "For the next request, if there are more."},
};
inline constexpr Shape kTree = ObjectOf("SnapshotTree", kTreeMembers);

inline constexpr std::string_view kDiffWords[] = {"added", "changed", "removed", "metadata"};
inline constexpr Member kDiffEntryMembers[] = {
    {"change", Words(kDiffWords), {}}, {"path", kText, {}},       {"pathBase64?", kText, {}},
    {"type", Words(kNodeTypes), {}},   {"oldSize", kInteger, {}}, {"newSize", kInteger, {}},
};
inline constexpr Shape kDiffEntry = ObjectOf("SnapshotDiffEntry", kDiffEntryMembers);
inline constexpr Shape kDiffEntries = ListOf(kDiffEntry);
inline constexpr Member kDiffMembers[] = {
    {"from", kText, {}},          {"to", kText, {}},
    {"added", kInteger, {}},      {"changed", kInteger, {}},
    {"removed", kInteger, {}},    {"metadata", kInteger, {}},
    {"bytesAdded", kInteger, {}}, {"bytesRemoved", kInteger, {}},
    {"truncated", kBoolean, {}},  {"entries", kDiffEntries, {}},
};
inline constexpr Shape kDiff = ObjectOf("SnapshotDiff", kDiffMembers);

inline constexpr Member kPresignedMembers[] = {{"snapshotId", kText, {}},
                                               {"url", kText, {}},
                                               {"bytes", kInteger, {}},
                                               {"validSeconds", kInteger, {}}};
inline constexpr Shape kPresigned = ObjectOf("PresignedArchive", kPresignedMembers);

}  // namespace atl::api::answers
