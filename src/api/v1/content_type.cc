// SPDX-License-Identifier: Apache-2.0
#include "api/v1/content_type.h"

#include <algorithm>
#include <utility>

#include "json/utf8.h"

namespace atl::api {
namespace {

constexpr std::string_view kPlain = "text/plain; charset=utf-8";
constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"css", "text/css; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ico", "image/x-icon"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"md", "text/markdown; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"txt", kPlain},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"woff2", "font/woff2"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

}  // namespace

std::string_view ContentTypeOf(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  std::string_view extension = name.substr(dot + 1);
  const auto* found =
      std::ranges::find(kTypes, extension, [](const auto& type) { return type.first; });
  return found == std::end(kTypes) ? std::string_view() : found->second;
}

std::string_view ContentTypeOfBytes(std::string_view begin) {
  json::Utf8Scan scan = json::ScanUtf8(begin);
  bool text = !scan.broken && begin.find('\0') == std::string_view::npos;
  return text ? kPlain : "application/octet-stream";
}

}  // namespace atl::api
