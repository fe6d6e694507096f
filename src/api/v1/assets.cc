// SPDX-License-Identifier: Apache-2.0
#include "api/v1/assets.h"

#include <array>
#include <utility>

namespace atl::api {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kTypes = {{
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".json", "application/json"},
}};

}  // namespace

const Asset* FindAsset(std::string_view path) {
  if (!path.starts_with('/')) return nullptr;
  std::string_view name = path == "/" ? "index.html" : path.substr(1);
  for (const Asset& asset : Assets()) {
    if (asset.name == name) return &asset;
  }
  return nullptr;
}

std::string_view ContentType(std::string_view name) {
  for (const auto& [suffix, type] : kTypes) {
    if (name.ends_with(suffix)) return type;
  }
  return "application/octet-stream";
}

}  // namespace atl::api
