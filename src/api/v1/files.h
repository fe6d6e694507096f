// SPDX-License-Identifier: Apache-2.0
// Content of files: /v1/sandboxes/{id}/files/{path...}, where the path is one from the root of the
// sandbox ("…/files/workspace/a.txt").
//   GET, HEAD  the bytes, or those of one range (Range, or ?offset=&length=); ETag, If-None-Match.
//              ?download=1 for a name to save under
//   PUT        the body becomes the file, at once and as a whole: ?mode=0644 &user= &parents=1
//              &append=1; `If-None-Match: *` for a new one only
//   DELETE     ?recursive=1 for directories
#pragma once

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> FileRoutes();

}  // namespace atl::api
