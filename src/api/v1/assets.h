// SPDX-License-Identifier: Apache-2.0
// The dashboard's files, embedded in the binary.
#pragma once

#include <span>
#include <string_view>

namespace atl::api {

struct Asset {
  std::string_view name;  // "app.js"
  std::string_view content;
};

// All of them; generated.
std::span<const Asset> Assets();

// `path` as in a request: "/app.js"; "/" is index.html. Null when there is none.
const Asset* FindAsset(std::string_view path);
std::string_view ContentType(std::string_view name);

}  // namespace atl::api
