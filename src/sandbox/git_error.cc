// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace atl::sandbox {
namespace {

constexpr size_t kMaxMessageBytes = 1000;

struct Meaning {
  std::string_view text;  // as git or curl word it, in lower case
  Code code;
  std::string_view reason;
};

// Read from top to bottom: the first that occurs decides.
constexpr std::array kOfServers = {
    Meaning{"already exists and is not an empty directory", Code::kAlreadyExists, "FILE_EXISTS"},
    Meaning{"no space left on device", Code::kResourceExhausted, "NO_SPACE"},
    Meaning{"could not create work tree", Code::kInvalidArgument, "VALIDATION_FAILED"},
    Meaning{"could not create leading directories", Code::kInvalidArgument, "VALIDATION_FAILED"},
    Meaning{"couldn't find remote ref", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"src refspec", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"not found in upstream", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"could not find remote branch", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"authentication failed", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"could not read username", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"could not read password", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"terminal prompts disabled", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"permission denied (", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"host key verification failed", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"error loading key", Code::kInvalidArgument, "VALIDATION_FAILED"},
    Meaning{"returned error: 401", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"returned error: 403", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"returned error: 404", Code::kNotFound, "GIT_REPOSITORY_NOT_FOUND"},
    Meaning{"returned error: 410", Code::kNotFound, "GIT_REPOSITORY_NOT_FOUND"},
    Meaning{"is this a git repository", Code::kNotFound, "GIT_REPOSITORY_NOT_FOUND"},
    Meaning{"does not appear to be a git repository", Code::kNotFound, "GIT_REPOSITORY_NOT_FOUND"},
    Meaning{"unable to find remote helper", Code::kInvalidArgument, "INVALID_GIT_URL"},
    Meaning{"bad/illegal format", Code::kInvalidArgument, "INVALID_GIT_URL"},
    Meaning{"malformed input to a url", Code::kInvalidArgument, "INVALID_GIT_URL"},
    Meaning{"port number was not a decimal", Code::kInvalidArgument, "INVALID_GIT_URL"},
    Meaning{"not allowed", Code::kInvalidArgument, "INVALID_GIT_URL"},
    Meaning{"could not resolve host", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"failed to connect", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"couldn't connect", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"connection refused", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"connection timed out", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"connection reset", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"operation too slow", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"timed out", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"timeout", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"empty reply from server", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"returned error: 5", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"rpc failed", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"early eof", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"hung up", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"unexpected disconnect", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"certificate", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"ssl", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"tls", Code::kBadGateway, "GIT_NETWORK_ERROR"},
    Meaning{"unable to access", Code::kBadGateway, "GIT_NETWORK_ERROR"},
};

constexpr std::array kLocal = {
    Meaning{"not a git repository", Code::kNotFound, "GIT_REPOSITORY_NOT_FOUND"},
    Meaning{"dubious ownership", Code::kPermissionDenied, "GIT_DUBIOUS_OWNERSHIP"},
    Meaning{"no space left on device", Code::kResourceExhausted, "NO_SPACE"},
    Meaning{"index.lock': file exists", Code::kFailedPrecondition, "GIT_LOCKED"},
    Meaning{"cannot lock ref", Code::kFailedPrecondition, "GIT_LOCKED"},
    Meaning{"would be overwritten", Code::kFailedPrecondition, "GIT_LOCAL_CHANGES"},
    Meaning{"you have unstaged changes", Code::kFailedPrecondition, "GIT_LOCAL_CHANGES"},
    Meaning{"your index contains uncommitted changes", Code::kFailedPrecondition,
            "GIT_LOCAL_CHANGES"},
    Meaning{"not possible to fast-forward", Code::kFailedPrecondition, "GIT_NOT_FAST_FORWARD"},
    Meaning{"refusing to merge unrelated histories", Code::kFailedPrecondition,
            "GIT_UNRELATED_HISTORIES"},
    Meaning{"you need to resolve your current index first", Code::kFailedPrecondition,
            "GIT_CONFLICT"},
    Meaning{"because you have unmerged files", Code::kFailedPrecondition, "GIT_CONFLICT"},
    Meaning{"you have not concluded your merge", Code::kFailedPrecondition, "GIT_CONFLICT"},
    Meaning{"already a rebase-merge directory", Code::kFailedPrecondition, "GIT_CONFLICT"},
    Meaning{"unable to auto-detect email address", Code::kInvalidArgument, "GIT_IDENTITY_UNKNOWN"},
    Meaning{"empty ident name", Code::kInvalidArgument, "GIT_IDENTITY_UNKNOWN"},
    Meaning{"committer identity unknown", Code::kInvalidArgument, "GIT_IDENTITY_UNKNOWN"},
    Meaning{"author identity unknown", Code::kInvalidArgument, "GIT_IDENTITY_UNKNOWN"},
    Meaning{"you have nothing to amend", Code::kFailedPrecondition, "GIT_NO_COMMITS"},
    Meaning{"does not have any commits yet", Code::kFailedPrecondition, "GIT_NO_COMMITS"},
    Meaning{"is not fully merged", Code::kFailedPrecondition, "GIT_BRANCH_NOT_MERGED"},
    Meaning{"cannot delete branch", Code::kFailedPrecondition, "GIT_BRANCH_CHECKED_OUT"},
    Meaning{"already exists", Code::kAlreadyExists, "GIT_BRANCH_EXISTS"},
    Meaning{"did not match any file", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"unknown revision", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"bad revision", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"not a valid object name", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"not a valid branch point", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"bad object", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"is not a commit", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"invalid reference", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"is not a valid ref", Code::kNotFound, "GIT_REF_NOT_FOUND"},
    Meaning{"' not found", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"no such remote", Code::kNotFound, "GIT_REMOTE_NOT_FOUND"},
    Meaning{"no upstream configured", Code::kFailedPrecondition, "GIT_NO_UPSTREAM"},
};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string LowerOf(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), Lower);
  return lower;
}

// git's own lines: what the server says comes as "remote: …" and decides nothing, and names of
// files stand behind a tab.
std::vector<std::string_view> OwnLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    size_t end = text.find_first_of("\r\n");
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line[0] != '\t' && !line.starts_with("remote:")) lines.push_back(line);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

// "not found" alone is said of branches and helpers too; git puts the URL before it.
bool SaysRepositoryNotFound(std::string_view lower) {
  return lower.starts_with("fatal: repository ") && lower.ends_with("not found");
}

// The line to show: the first "fatal:" or "error:", or the last one.
std::string_view Telling(const std::vector<std::string_view>& lines) {
  for (std::string_view line : lines) {
    if (line.starts_with("fatal:")) return line;
  }
  for (std::string_view line : lines) {
    if (line.starts_with("error:")) return line;
  }
  return lines.empty() ? std::string_view("git said nothing") : lines.back();
}

// Of every URL in it, what stands before the host.
std::string WithoutSecrets(std::string_view text) {
  std::string out;
  for (size_t begin = text.find("://"); begin != std::string_view::npos; begin = text.find("://")) {
    out.append(text.substr(0, begin + 3));
    text.remove_prefix(begin + 3);
    size_t at = text.substr(0, text.find_first_of("/?# '\"\t")).rfind('@');
    if (at != std::string_view::npos) text.remove_prefix(at + 1);
  }
  out.append(text);
  return out.substr(0, kMaxMessageBytes);
}

std::string WithoutAll(std::string text, std::string_view what) {
  if (what.empty()) return text;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.erase(at, what.size());
  }
  return text;
}

Error ErrorOf(std::string_view operation, const std::vector<std::string_view>& lines) {
  return {.code = Code::kInternal,
          .message = WithoutSecrets(fmt::format("{}: {}", operation, Telling(lines))),
          .reason = "GIT_OPERATION_FAILED"};
}

bool Decide(std::string_view text, std::span<const Meaning> meanings, Error& error) {
  for (const Meaning& meaning : meanings) {
    if (text.find(meaning.text) == std::string_view::npos) continue;
    error.code = meaning.code;
    error.reason = meaning.reason;
    return true;
  }
  return false;
}

}  // namespace

Error RemoteGitError(std::string_view operation, std::string_view text, std::string_view url) {
  std::vector<std::string_view> lines = OwnLines(text);
  Error error = ErrorOf(operation, lines);
  std::string all;
  for (std::string_view line : lines) {
    std::string lower = LowerOf(line);
    if (SaysRepositoryNotFound(lower)) {
      error.code = Code::kNotFound;
      error.reason = "GIT_REPOSITORY_NOT_FOUND";
      return error;
    }
    all.append(WithoutSecrets(lower)).push_back('\n');
  }
  all = WithoutAll(std::move(all), WithoutSecrets(LowerOf(url)));
  if (!Decide(all, kOfServers, error)) Decide(all, kLocal, error);
  return error;
}

Error LocalGitError(std::string_view operation, std::string_view text) {
  std::vector<std::string_view> lines = OwnLines(text);
  Error error = ErrorOf(operation, lines);
  std::string all;
  for (std::string_view line : lines) all.append(LowerOf(line)).push_back('\n');
  Decide(all, kLocal, error);
  return error;
}

}  // namespace atl::sandbox
