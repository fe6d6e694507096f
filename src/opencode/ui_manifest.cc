// SPDX-License-Identifier: Apache-2.0
#include "opencode/ui_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/bytes.h"
#include "json/reader.h"

namespace atl::opencode {
namespace {

constexpr int64_t kFormat = 1;
constexpr size_t kMaxFiles = 5000;
constexpr int64_t kMaxFileBytes = 64LL << 20U;
constexpr uint64_t kMaxTotalBytes = 256ULL << 20U;
constexpr size_t kMaxPathBytes = 400;
constexpr size_t kMaxFields = 20;
constexpr size_t kMaxValueBytes = 4096;

// What a kept file cannot say: it is about one message, one connection or one client, or reaches
// beyond the origin.
constexpr std::array<std::string_view, 16> kRefused = {"Connection",
                                                       "Keep-Alive",
                                                       "Transfer-Encoding",
                                                       "Content-Length",
                                                       "Trailer",
                                                       "Upgrade",
                                                       "TE",
                                                       "Proxy-Authenticate",
                                                       "Date",
                                                       "Age",
                                                       "Content-Encoding",
                                                       "Content-Range",
                                                       "Set-Cookie",
                                                       "Location",
                                                       "Alt-Svc",
                                                       "Clear-Site-Data"};

bool IsVisible(char c) { return c > 0x20 && c < 0x7f; }

bool IsTokenChar(char c) {
  bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return alphanumeric || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsPath(std::string_view path) {
  return path.starts_with('/') && path.size() <= kMaxPathBytes &&
         std::ranges::all_of(path, IsVisible) &&
         path.find_first_of("?#%\\") == std::string_view::npos;
}

bool IsFieldName(std::string_view name) {
  if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, IsTokenChar)) return false;
  if (http::EqualsIgnoreCase(name.substr(0, 15), "Access-Control-")) return false;
  return std::ranges::none_of(
      kRefused, [name](std::string_view one) { return http::EqualsIgnoreCase(name, one); });
}

bool IsFieldValue(std::string_view value) {
  return value.size() <= kMaxValueBytes &&
         std::ranges::all_of(value, [](char c) { return IsVisible(c) || c == ' '; });
}

Unexpected Bad(std::string_view what, std::string_view of) {
  return Fail(Code::kInvalidArgument, fmt::format("{} of {:.200}", what, of), "BAD_UI_CACHE");
}

Result<http::Headers> ParseFields(const json::Object& object, const std::string& path) {
  http::Headers headers;
  ASSIGN(std::string type, object.String("type"));
  if (type.empty() || !IsFieldValue(type)) return Bad("the content type", path);
  headers.Add("Content-Type", std::move(type));
  ASSIGN(json::StringMap fields, object.OptionalTextMap("headers"));
  if (fields.size() > kMaxFields) return Bad("the number of header fields", path);
  for (auto& [name, value] : fields) {
    if (!IsFieldName(name) || headers.Has(name)) return Bad("the name of a header field", path);
    if (!IsFieldValue(value)) return Bad("the value of a header field", path);
    headers.Add(std::move(name), std::move(value));
  }
  return headers;
}

Result<UiFile> ParseFile(const json::Object& object, const std::string& path) {
  if (!IsPath(path)) return Bad("the path", path);
  UiFile file{.path = path};
  ASSIGN(file.sha256, object.String("sha256"));
  // It names a file, so it is nothing but digits.
  if (!crypto::IsHex(file.sha256, 64)) return Bad("the SHA-256", path);
  ASSIGN(std::optional<int64_t> size, object.OptionalInt("size", {.min = 0, .max = kMaxFileBytes}));
  if (!size) return Bad("the size", path);
  file.size = static_cast<uint64_t>(*size);
  ASSIGN(file.headers, ParseFields(object, path));
  return file;
}

std::string_view NextSegment(std::string_view& path) {
  path.remove_prefix(1);
  size_t end = std::min(path.find('/'), path.size());
  std::string_view segment = path.substr(0, end);
  path.remove_prefix(end);
  return segment;
}

// Base64url of something that begins with '/'.
bool IsDirectory(std::string_view segment) {
  constexpr std::string_view kSecond = "wxyz0123456789-_";
  return segment.size() >= 2 && segment[0] == 'L' &&
         kSecond.find(segment[1]) != std::string_view::npos &&
         std::ranges::all_of(segment, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

}  // namespace

std::string UiFile::etag() const { return fmt::format("\"{}\"", sha256.substr(0, 32)); }

Result<UiManifest> ParseUiManifest(std::string_view text) {
  ASSIGN(json::Object object, json::Object::Parse(text, false, {.max_bytes = kMaxManifestBytes}));
  ASSIGN(std::optional<int64_t> format, object.OptionalInt("format", {}));
  if (format != kFormat) return Bad("the format", "the manifest");
  UiManifest manifest;
  ASSIGN(std::optional<int64_t> binary, object.OptionalInt("binarySize", {.min = 1}));
  if (!binary) return Bad("binarySize", "the manifest");
  manifest.binary_size = static_cast<uint64_t>(*binary);
  ASSIGN(std::optional<json::Object> files, object.OptionalObject("files"));
  std::vector<std::string> paths = files ? files->Names() : std::vector<std::string>();
  if (paths.empty() || paths.size() > kMaxFiles) return Bad("the number of files", "the manifest");
  uint64_t total = 0;
  for (const std::string& path : paths) {
    ASSIGN(std::optional<json::Object> one, files->OptionalObject(path));
    if (!one) return Bad("the description", path);
    ASSIGN(UiFile file, ParseFile(*one, path));
    total += file.size;
    manifest.files.emplace(path, std::move(file));
  }
  if (total > kMaxTotalBytes) return Bad("the size", "all files");
  if (!manifest.files.contains(UiManifest::kIndexPath)) return Bad("the page", "the manifest");
  return manifest;
}

bool IsUiRoute(std::string_view path) {
  if (!path.starts_with('/')) return false;
  if (path == "/" || path == "/new-session") return true;
  std::string_view rest = path;
  std::string_view first = NextSegment(rest);
  if (first == "server" && !rest.empty()) {
    NextSegment(rest);
  } else if (!IsDirectory(first)) {
    return false;
  } else if (rest.empty() || rest == "/") {
    return true;
  }
  return !rest.empty() && NextSegment(rest) == "session";
}

bool MatchesEtag(std::string_view if_none_match, std::string_view etag) {
  while (!if_none_match.empty()) {
    size_t comma = std::min(if_none_match.find(','), if_none_match.size());
    std::string_view one = http::Trim(if_none_match.substr(0, comma));
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == "*" || one == etag) return true;
    if_none_match.remove_prefix(std::min(if_none_match.size(), comma + 1));
  }
  return false;
}

}  // namespace atl::opencode
