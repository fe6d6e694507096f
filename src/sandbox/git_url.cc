// SPDX-License-Identifier: Apache-2.0
// What a clone request may say.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "sandbox/git_clone.h"
#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxUrlBytes = 2048;
constexpr size_t kMaxPathBytes = 4095;
constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxBranchBytes = 255;
constexpr size_t kMostSparse = 512;

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

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool StartsWithIgnoreCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::ranges::equal(text.substr(0, prefix.size()), prefix,
                            [](char a, char b) { return Lower(a) == Lower(b); });
}

// Where the authority begins; 0 when the scheme is none of those that are let through.
size_t AuthorityStart(std::string_view url) {
  for (std::string_view scheme : {"http://", "https://", "ssh://"}) {
    if (StartsWithIgnoreCase(url, scheme)) return scheme.size();
  }
  return 0;
}

std::string_view Authority(std::string_view url) {
  std::string_view rest = url.substr(AuthorityStart(url));
  return rest.substr(0, rest.find_first_of("/?#"));
}

// "user@host:path", which git takes for ssh. The user must be there: without it a mistyped scheme
// would be taken for a host.
Result<void> ValidateShortUrl(std::string_view url) {
  size_t colon = url.find(':');
  size_t at = url.find('@');
  bool is_one = colon != std::string_view::npos && at != std::string_view::npos && at > 0 &&
                at + 1 < colon && colon + 1 < url.size() &&
                url.substr(0, colon).find('/') == std::string_view::npos && url[0] != '-' &&
                url[at + 1] != '-' && url[colon + 1] != ':' && url.substr(colon + 1, 2) != "//";
  if (is_one) return {};
  return InvalidUrl("\"repo\" must be http://…, https://…, ssh://… or user@host:path");
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
  if (url.find('\\') != std::string_view::npos) return InvalidUrl("\"repo\" has a backslash");
  if (AuthorityStart(url) == 0) return ValidateShortUrl(url);
  std::string_view authority = Authority(url);
  size_t at = authority.rfind('@');
  std::string_view host = at == std::string_view::npos ? authority : authority.substr(at + 1);
  if (host.empty() || host[0] == ':' || host[0] == '-') {
    return InvalidUrl("\"repo\" names no host");
  }
  if (authority[0] == '-') return InvalidUrl("\"repo\" names a user that would be an option");
  return {};
}

Result<std::string> NameFromUrl(std::string_view url) {
  std::string_view path = url.substr(AuthorityStart(url));
  path = path.substr(0, path.find_first_of("?#"));
  size_t slash = AuthorityStart(url) == 0 ? path.find(':') : path.find('/');
  // Without a path, git names the directory after the host.
  std::string_view name = slash == std::string_view::npos ? Authority(url) : path.substr(slash);
  if (slash == std::string_view::npos || name.find_first_not_of('/') == std::string_view::npos) {
    return InvalidUrl("\"repo\" has no path to name a directory after; give \"dir\"");
  }
  while (name.ends_with('/')) name.remove_suffix(1);
  if (name.ends_with("/.git")) name.remove_suffix(5);
  while (name.ends_with('/')) name.remove_suffix(1);
  if (name.ends_with(".git")) name.remove_suffix(4);
  name = name.substr(name.find_last_of("/:") + 1);
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

Result<void> ValidateClone(const CloneRequest& request) {
  TRY(ValidateRepoUrl(request.repo));
  TRY(ValidateCredentials(request.credentials));
  if (request.branch) TRY(ValidateBranch(*request.branch));
  if (request.filter.size() > kMaxNameBytes ||
      request.filter.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789:=+") !=
          std::string::npos) {
    return Invalid("\"filter\" is none: \"blob:none\", \"tree:0\", \"blob:limit=1m\"");
  }
  if (request.sparse.size() > kMostSparse) return Invalid("\"sparse\" has too many entries");
  for (const std::string& dir : request.sparse) {
    // git reads them by lines, and takes quotes and comments for more than they are.
    if (dir.empty() || dir.size() > kMaxPathBytes || std::ranges::any_of(dir, IsControl) ||
        dir[0] == '/' || dir[0] == '"' || dir[0] == '#' || dir[0] == '!') {
      return Invalid("\"sparse\" has directories below the repository's own, without a / in front");
    }
  }
  return {};
}

std::string RedactUrl(std::string_view url) {
  size_t start = AuthorityStart(url);
  std::string_view authority = Authority(url);
  size_t at = authority.rfind('@');
  if (start == 0 || at == std::string_view::npos) return std::string(url);
  if (StartsWithIgnoreCase(url, "ssh://")) return std::string(url);  // a name, which is no secret
  return fmt::format("{}{}", url.substr(0, start), url.substr(start + at + 1));
}

Error CloneError(std::string_view stderr_text, const CloneRequest& request) {
  return RemoteGitError("git clone", stderr_text, request.repo);
}

}  // namespace atl::sandbox
