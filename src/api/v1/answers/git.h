// SPDX-License-Identifier: Apache-2.0
// What the routes about repositories answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr std::string_view kAsBytes = "The same in base64, when it is no text.";

inline constexpr Member kGitHeadMembers[] = {{"branch", OrNull(kText), {}},
                                             {"commit", OrNull(kText), "null before the first."},
                                             {"detached", kBoolean, {}}};
inline constexpr Shape kGitHead = ObjectOf("GitHead", kGitHeadMembers);

inline constexpr Member kClonedMembers[] = {
    {"repo", kText, {}}, {"dir", kText, {}}, {"branch", kText, {}}, {"commit", kText, {}}};
inline constexpr Shape kCloned = ObjectOf("ClonedRepository", kClonedMembers);

inline constexpr Member kCloneProgressMembers[] = {{"type", Words(kProgressType), {}},
                                                   {"phase", kText, {}},
                                                   {"done", kInteger, {}},
                                                   {"total", kInteger, {}}};
inline constexpr Member kCloneCompleteMembers[] = {{"type", Words(kCompleteType), {}}};
inline constexpr Shape kCloneProgress = ObjectOf("CloneProgressEvent", kCloneProgressMembers);
inline constexpr Shape kCloneComplete =
    ObjectOf("CloneCompleteEvent", kCloneCompleteMembers, &kCloned);
inline constexpr const Shape* kCloneEvents[] = {&kCloneProgress, &kCloneComplete, &kErrorEvent};
inline constexpr Shape kCloneEvent = OneOf("CloneEvent", kCloneEvents);

inline constexpr std::string_view kChangeWords[] = {
    "modified", "typechange", "added",     "deleted", "renamed",
    "copied",   "unmerged",   "untracked", "ignored", "unmodified"};
inline constexpr Member kGitChangeMembers[] = {
    {"path", kText, {}},
    {"pathBase64?", kText, kAsBytes},
    {"from?", kText, "What it was called before."},
    {"fromBase64?", kText, kAsBytes},
    {"index", Words(kChangeWords), {}},
    {"worktree", Words(kChangeWords), {}},
    {"conflict?", kTrue, {}},
    {"submodule?", kTrue, {}},
};
inline constexpr Shape kGitChange = ObjectOf("GitChange", kGitChangeMembers);
inline constexpr Shape kGitChanges = ListOf(kGitChange);
inline constexpr Member kGitStatusMembers[] = {
    {"upstream", OrNull(kText), {}}, {"ahead?", kInteger, {}},    {"behind?", kInteger, {}},
    {"clean", kBoolean, {}},         {"conflicts", kBoolean, {}}, {"changes", kGitChanges, {}},
    {"more", kBoolean, {}},
};
inline constexpr Shape kGitStatus = ObjectOf("GitStatus", kGitStatusMembers, &kGitHead);

inline constexpr Member kGitFileMembers[] = {
    {"path", kText, {}},
    {"pathBase64?", kText, kAsBytes},
    {"from?", kText, {}},
    {"fromBase64?", kText, kAsBytes},
    {"status", Words(kChangeWords), {}},
    {"added?", kInteger, "Lines."},
    {"removed?", kInteger, {}},
    {"binary", kBoolean, {}},
};
inline constexpr Shape kGitFile = ObjectOf("GitFileDiff", kGitFileMembers);
inline constexpr Shape kGitFiles = ListOf(kGitFile);
inline constexpr Member kGitDiffMembers[] = {{"files", kGitFiles, {}},
                                             {"more", kBoolean, {}},
                                             {"patch", kText, {}},
                                             {"patchBase64?", kText, kAsBytes},
                                             {"patchTruncated", kBoolean, {}}};
inline constexpr Shape kGitDiff = ObjectOf("GitDiff", kGitDiffMembers);

inline constexpr Member kGitPersonMembers[] = {
    {"name", kText, {}}, {"email", kText, {}}, {"date?", kTime, {}}};
inline constexpr Shape kGitPerson = ObjectOf("GitPerson", kGitPersonMembers);
inline constexpr Member kGitCommitMembers[] = {
    {"commit", kText, {}},         {"parents", kTexts, {}}, {"author", kGitPerson, {}},
    {"committer", kGitPerson, {}}, {"refs", kTexts, {}},    {"message", kText, {}},
};
inline constexpr Shape kGitCommit = ObjectOf("GitCommit", kGitCommitMembers);
inline constexpr Shape kGitCommits = ListOf(kGitCommit);
inline constexpr Member kGitLogMembers[] = {{"commits", kGitCommits, {}}, {"more", kBoolean, {}}};
inline constexpr Shape kGitLog = ObjectOf("GitLog", kGitLogMembers);

inline constexpr Member kGitBranchMembers[] = {
    {"name", kText, {}},
    {"nameBase64?", kText, kAsBytes},
    {"commit", kText, {}},
    {"remote", kBoolean, {}},
    {"current", kBoolean, {}},
    {"upstream?", kText, {}},
    {"upstreamBase64?", kText, kAsBytes},
    {"date?", kTime, {}},
    {"subject", kText, {}},
};
inline constexpr Shape kGitBranch = ObjectOf("GitBranch", kGitBranchMembers);
inline constexpr Shape kGitBranches = ListOf(kGitBranch);
inline constexpr Member kGitBranchListMembers[] = {{"branches", kGitBranches, {}}};
inline constexpr Shape kGitBranchList = ObjectOf("GitBranchList", kGitBranchListMembers, &kGitHead);

inline constexpr Member kGitCommittedMembers[] = {{"details", kGitCommit, {}}};
inline constexpr Shape kGitCommitted = ObjectOf("GitCommitted", kGitCommittedMembers, &kGitHead);

inline constexpr Member kGitPulledMembers[] = {{"before", OrNull(kText), {}},
                                               {"changed", kBoolean, {}}};
inline constexpr Shape kGitPulled = ObjectOf("GitPulled", kGitPulledMembers, &kGitHead);

inline constexpr std::string_view kPushWords[] = {"forced",   "deleted",   "new",
                                                  "rejected", "unchanged", "updated"};
inline constexpr Member kGitRefMembers[] = {{"ref", kText, {}},
                                            {"refBase64?", kText, kAsBytes},
                                            {"status", Words(kPushWords), {}},
                                            {"summary", kText, {}}};
inline constexpr Shape kGitRef = ObjectOf("GitPushedRef", kGitRefMembers);
inline constexpr Shape kGitRefs = ListOf(kGitRef);
inline constexpr Member kGitPushedMembers[] = {{"refs", kGitRefs, {}}};
inline constexpr Shape kGitPushed = ObjectOf("GitPushed", kGitPushedMembers);

}  // namespace atl::api::answers
