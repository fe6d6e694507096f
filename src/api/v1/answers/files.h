// SPDX-License-Identifier: Apache-2.0
// What the routes about files, archives, watches and buckets answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kFileTypes[] = {"file", "directory", "symlink",
                                                  "fifo", "socket",    "device"};
inline constexpr Member kFileMembers[] = {
    {"path", kText, {}},
    {"name", kText, {}},
    {"type", Words(kFileTypes), {}},
    {"size", kInteger, {}},
    {"mode", kText, "Octal: \"0644\"."},
    {"uid", kInteger, {}},
    {"gid", kInteger, {}},
    {"modifiedAt", kTime, {}},
    {"target?", kText, "Of a symlink."},
};
inline constexpr Shape kFile = ObjectOf("File", kFileMembers);
inline constexpr Shape kFiles = ListOf(kFile);

inline constexpr Member kFileListMembers[] = {
    {"path", kText, {}},
    {"files", kFiles, {}},
    {"count", kInteger, {}},
    {"skipped?", kInteger, "What could not be read."},
    {"cursor?", kText, "For the next request, if there are more."},
};
inline constexpr Shape kFileList = ObjectOf("FileList", kFileListMembers);

inline constexpr Member kExistsMembers[] = {{"exists", kBoolean, {}}};
inline constexpr Shape kExists = ObjectOf("FileExists", kExistsMembers);

inline constexpr Member kMatchMembers[] = {{"path", kText, {}},
                                           {"line", kInteger, {}},
                                           {"column?", kInteger, "Of its first byte; from 1."},
                                           {"text", kText, {}}};
inline constexpr Shape kMatch = ObjectOf("GrepMatch", kMatchMembers);
inline constexpr Shape kMatches = ListOf(kMatch);
inline constexpr Member kGrepMembers[] = {{"matches", kMatches, {}},
                                          {"count", kInteger, {}},
                                          {"more", kBoolean, {}},
                                          {"timedOut", kBoolean, {}}};
inline constexpr Shape kGrep = ObjectOf("GrepResult", kGrepMembers);

inline constexpr Member kUnpackedMembers[] = {{"entries", kInteger, {}}, {"bytes", kInteger, {}}};
inline constexpr Shape kUnpacked = ObjectOf("Unpacked", kUnpackedMembers);

inline constexpr std::string_view kChangeStates[] = {"unchanged", "changed", "resync"};
inline constexpr Member kChangesMembers[] = {{"status", Words(kChangeStates), {}},
                                             {"version", kText, "\"since\" of the next request."},
                                             {"entries", kInteger, {}}};
inline constexpr Shape kChanges = ObjectOf("Changes", kChangesMembers);

inline constexpr std::string_view kWatchingType[] = {"watching"};
inline constexpr std::string_view kResyncType[] = {"resync"};
inline constexpr std::string_view kEventType[] = {"event"};
inline constexpr std::string_view kOverflowType[] = {"overflow"};
inline constexpr std::string_view kStoppedType[] = {"stopped"};
inline constexpr std::string_view kEventTypes[] = {"create",    "modify",  "delete",
                                                   "move_from", "move_to", "attrib"};
inline constexpr Member kWatchingMembers[] = {
    {"type", Words(kWatchingType), {}},    {"path", kText, {}},       {"recursive", kBoolean, {}},
    {"directories", kInteger, "Watched."}, {"resumed", kBoolean, {}},
};
inline constexpr Member kResyncMembers[] = {{"type", Words(kResyncType), {}},
                                            {"reason", kText, {}}};
inline constexpr Member kFileEventMembers[] = {
    {"type", Words(kEventType), {}},
    {"eventType", Words(kEventTypes), {}},
    {"path", kText, {}},
    {"isDirectory", kBoolean, {}},
    {"cookie?", kInteger, "The same for both halves of a move."},
    {"timestamp", kTime, {}},
};
inline constexpr Member kOverflowMembers[] = {{"type", Words(kOverflowType), {}},
                                              {"timestamp", kTime, {}}};
inline constexpr Member kStoppedEventMembers[] = {{"type", Words(kStoppedType), {}},
                                                  {"reason", kText, {}}};
inline constexpr Shape kWatching = ObjectOf("WatchingEvent", kWatchingMembers);
inline constexpr Shape kResync = ObjectOf("ResyncEvent", kResyncMembers);
inline constexpr Shape kFileEvent = ObjectOf("FileEvent", kFileEventMembers);
inline constexpr Shape kOverflow = ObjectOf("OverflowEvent", kOverflowMembers);
inline constexpr Shape kWatchStopped = ObjectOf("WatchStoppedEvent", kStoppedEventMembers);
inline constexpr const Shape* kWatchEvents[] = {&kWatching, &kResync,       &kFileEvent,
                                                &kOverflow, &kWatchStopped, &kErrorEvent};
inline constexpr Shape kWatchEvent = OneOf("WatchEvent", kWatchEvents);

inline constexpr Member kBucketMembers[] = {
    {"bucket", kText, {}},
    {"path", kText, {}},
    {"endpoint", kText, {}},
    {"region", kText, {}},
    {"prefix", kText, {}},
    {"readOnly", kBoolean, {}},
    {"secret?", kText, "The name of a credential that the daemon has."},
    {"mounted", kBoolean, {}},
    {"failure?", kText, {}},
};
inline constexpr Shape kBucket = ObjectOf("Bucket", kBucketMembers);
inline constexpr Shape kBuckets = ListOf(kBucket);
inline constexpr Member kBucketListMembers[] = {{"buckets", kBuckets, {}}};
inline constexpr Shape kBucketList = ObjectOf("BucketList", kBucketListMembers);

}  // namespace atl::api::answers
