// SPDX-License-Identifier: Apache-2.0
// What a clone request may say, and what git's messages mean.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "sandbox/git_clone.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxUrlBytes = 2048;
constexpr size_t kMaxPathBytes = 4095;
constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxBranchBytes = 255;
constexpr size_t kMaxMessageBytes = 1000;

Unexpected InvalidUrl(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "INVALID_GIT_URL");
}

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

bool IsControlOrSpace(char c) {
  auto byte = static_cast<unsigned char>(c);
  return byte <= 0x20 || byte == 0x7F;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool StartsWithIgnoreCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::ranges::equal(text.substr(0, prefix.size()), prefix,
                            [](char a, char b) { return Lower(a) == Lower(b); });
}

// Where the authority begins; 0 when the scheme is neither http nor https.
size_t AuthorityStart(std::string_view url) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (StartsWithIgnoreCase(url, scheme)) return scheme.size();
  }
  return 0;
}

std::string_view Authority(std::string_view url) {
  std::string_view rest = url.substr(AuthorityStart(url));
  return rest.substr(0, rest.find_first_of("/?#"));
}

struct Meaning {
  std::string_view text;  // as git or curl word it, in lower case
  Code code;
  std::string_view reason;
};

// Read from top to bottom: the first that occurs decides.
constexpr std::array kMeanings = {
    Meaning{"already exists and is not an empty directory", Code::kAlreadyExists, "FILE_EXISTS"},
    Meaning{"no space left on device", Code::kResourceExhausted, "NO_SPACE"},
    Meaning{"could not create work tree", Code::kInvalidArgument, "VALIDATION_FAILED"},
    Meaning{"could not create leading directories", Code::kInvalidArgument, "VALIDATION_FAILED"},
    Meaning{"not found in upstream", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"could not find remote branch", Code::kNotFound, "GIT_BRANCH_NOT_FOUND"},
    Meaning{"authentication failed", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"could not read username", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"could not read password", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
    Meaning{"terminal prompts disabled", Code::kUnauthenticated, "GIT_AUTH_FAILED"},
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

// git's own lines: what the server says comes as "remote: …" and decides nothing.
std::vector<std::string_view> OwnLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    size_t end = text.find_first_of("\r\n");
    std::string_view line = text.substr(0, end);
    if (!line.empty() && !line.starts_with("remote:")) lines.push_back(line);
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

std::string Redact(std::string_view text, const CloneRequest& request) {
  std::string out(text.substr(0, kMaxMessageBytes));
  std::string_view authority = Authority(request.repo);
  size_t at = authority.rfind('@');
  if (at == std::string_view::npos) return out;
  std::string secret(authority.substr(0, at + 1));
  // git leaves the password out of some messages and not of others.
  std::string user = secret.substr(0, secret.find(':')) + "@";
  for (const std::string& hidden : {secret, user}) {
    for (size_t pos = out.find(hidden); pos != std::string::npos; pos = out.find(hidden)) {
      out.erase(pos, hidden.size());
    }
  }
  return out;
}

}  // namespace

Result<void> ValidateRepoUrl(std::string_view url) {
  if (url.empty()) return InvalidUrl("\"repo\" is empty");
  if (url.size() > kMaxUrlBytes) {
    return InvalidUrl(fmt::format("\"repo\" has more than {} bytes", kMaxUrlBytes));
  }
  if (std::ranges::any_of(url, IsControlOrSpace)) {
    return InvalidUrl("\"repo\" has white space or control characters");
  }
  if (AuthorityStart(url) == 0) {
    return InvalidUrl("\"repo\" must begin with http:// or https://");
  }
  std::string_view authority = Authority(url);
  size_t at = authority.rfind('@');
  std::string_view host = at == std::string_view::npos ? authority : authority.substr(at + 1);
  if (host.empty() || host[0] == ':' || host[0] == '-') {
    return InvalidUrl("\"repo\" names no host");
  }
  if (url.find('\\') != std::string_view::npos) return InvalidUrl("\"repo\" has a backslash");
  return {};
}

Result<std::string> NameFromUrl(std::string_view url) {
  std::string_view path = url.substr(AuthorityStart(url));
  path = path.substr(0, path.find_first_of("?#"));
  size_t slash = path.find('/');
  // Without a path, git names the directory after the host.
  std::string_view name = slash == std::string_view::npos ? Authority(url) : path.substr(slash);
  if (slash == std::string_view::npos || name.find_first_not_of('/') == std::string_view::npos) {
    return InvalidUrl("\"repo\" has no path to name a directory after; give \"dir\"");
  }
  while (name.ends_with('/')) name.remove_suffix(1);
  if (name.ends_with("/.git")) name.remove_suffix(5);
  while (name.ends_with('/')) name.remove_suffix(1);
  if (name.ends_with(".git")) name.remove_suffix(4);
  name = name.substr(name.rfind('/') + 1);
  if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameBytes) {
    return InvalidUrl("\"repo\" does not end in a name for a directory; give \"dir\"");
  }
  return std::string(name);
}

Result<std::string> NormalizeDir(std::string_view dir) {
  if (!dir.starts_with('/')) return Invalid("\"dir\" must be an absolute path");
  if (dir.size() > kMaxPathBytes) return Invalid("\"dir\" is too long");
  if (std::ranges::any_of(dir, [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
    return Invalid("\"dir\" has control characters");
  }
  std::vector<std::string_view> parts;
  for (size_t begin = 1; begin <= dir.size();) {
    size_t end = std::min(dir.find('/', begin), dir.size());
    std::string_view part = dir.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part.size() > kMaxNameBytes) return Invalid("\"dir\" has a name of more than 255 bytes");
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return parts.empty() ? std::string("/") : fmt::format("/{}", fmt::join(parts, "/"));
}

Result<void> ValidateBranch(std::string_view branch) {
  bool bad = branch.empty() || branch.size() > kMaxBranchBytes || branch.starts_with('-') ||
             branch.starts_with('/') || branch.ends_with('/') || branch.ends_with('.') ||
             branch.ends_with(".lock") || branch.find("..") != std::string_view::npos ||
             branch.find("//") != std::string_view::npos ||
             branch.find("@{") != std::string_view::npos ||
             branch.find_first_of("~^:?*[\\") != std::string_view::npos ||
             std::ranges::any_of(branch, IsControlOrSpace);
  if (bad) return Invalid("\"branch\" is not a name that git allows");
  return {};
}

std::string RedactUrl(std::string_view url) {
  size_t start = AuthorityStart(url);
  std::string_view authority = Authority(url);
  size_t at = authority.rfind('@');
  if (start == 0 || at == std::string_view::npos) return std::string(url);
  return fmt::format("{}{}", url.substr(0, start), url.substr(start + at + 1));
}

Error CloneError(std::string_view stderr_text, const CloneRequest& request) {
  std::vector<std::string_view> lines = OwnLines(stderr_text);
  Error error{.code = Code::kInternal, .reason = "GIT_OPERATION_FAILED"};
  error.message = Redact(fmt::format("git clone: {}", Telling(lines)), request);
  std::string all;
  for (std::string_view line : lines) {
    std::string lower(line);
    std::ranges::transform(lower, lower.begin(), Lower);
    if (SaysRepositoryNotFound(lower)) {
      error.code = Code::kNotFound;
      error.reason = "GIT_REPOSITORY_NOT_FOUND";
      return error;
    }
    all.append(lower).push_back('\n');
  }
  // What the caller sent appears in git's messages and must not be taken for their meaning.
  std::string url = RedactUrl(request.repo);
  std::ranges::transform(url, url.begin(), Lower);
  for (size_t pos = all.find(url); pos != std::string::npos; pos = all.find(url, pos)) {
    all.erase(pos, url.size());
  }
  for (const Meaning& meaning : kMeanings) {
    if (all.find(meaning.text) == std::string::npos) continue;
    error.code = meaning.code;
    error.reason = meaning.reason;
    return error;
  }
  return error;
}

}  // namespace atl::sandbox
