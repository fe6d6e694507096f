// SPDX-License-Identifier: Apache-2.0
// What is kept of OpenCode's UI: the list of its files, as scripts/cache_ui.py writes it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/message.h"

namespace atl::opencode {

struct UiFile {
  std::string path;    // as in a request
  std::string sha256;  // of its content, in hex: its name in the cache
  uint64_t size = 0;
  // Content-Type and what else describes the file, security policies included; nothing that frames
  // a message or belongs to one connection.
  http::Headers headers;

  std::string etag() const;
};

struct UiManifest {
  uint64_t binary_size = 0;  // of the OpenCode that the files are from
  std::map<std::string, UiFile, std::less<>> files;

  // The page; parsed manifests have it.
  const UiFile& index() const { return files.find(kIndexPath)->second; }
  static constexpr std::string_view kIndexPath = "/index.html";
};

inline constexpr size_t kMaxManifestBytes = 8UL << 20U;

// Checks everything that it returns: paths, names, sizes, header fields, how many and how much.
Result<UiManifest> ParseUiManifest(std::string_view text);

// Whether the UI shows a view of its own at `path`: "/<base64url of a directory>/session/…". Any
// other path may be the API's.
bool IsUiRoute(std::string_view path);

// Whether If-None-Match names `etag` (RFC 9110, 13.1.2).
bool MatchesEtag(std::string_view if_none_match, std::string_view etag);

}  // namespace atl::opencode
