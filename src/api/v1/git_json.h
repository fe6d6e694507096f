// SPDX-License-Identifier: Apache-2.0
// The bodies and answers of the routes about git.
#pragma once

#include <string>
#include <vector>

#include "json/reader.h"
#include "sandbox/git.h"

namespace atl::api {

Result<sandbox::GitStatusRequest> ParseGitStatus(const json::Object& body);
Result<sandbox::GitDiffRequest> ParseGitDiff(const json::Object& body);
Result<sandbox::GitLogRequest> ParseGitLog(const json::Object& body);
Result<sandbox::GitCommitRequest> ParseGitCommit(const json::Object& body);
Result<sandbox::GitBranchRequest> ParseGitBranch(const json::Object& body);
Result<sandbox::GitCheckoutRequest> ParseGitCheckout(const json::Object& body);
Result<sandbox::GitFetchRequest> ParseGitFetch(const json::Object& body);
Result<sandbox::GitPullRequest> ParseGitPull(const json::Object& body);
Result<sandbox::GitPushRequest> ParseGitPush(const json::Object& body);

// Names that are not UTF-8 stand in base64 as well: "path" and "pathBase64".
std::string GitStatusJson(const sandbox::GitStatus& status);
std::string GitDiffJson(const sandbox::GitDiff& diff);
std::string GitLogJson(const sandbox::GitLog& log);
std::string GitBranchesJson(const sandbox::GitBranches& branches);
std::string GitCommittedJson(const sandbox::GitCommitted& committed);
std::string GitHeadJson(const sandbox::GitHead& head);
std::string GitPulledJson(const sandbox::GitPulled& pulled);
std::string GitPushedJson(const std::vector<sandbox::GitPushed>& pushed);

}  // namespace atl::api
