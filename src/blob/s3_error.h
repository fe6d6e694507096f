// SPDX-License-Identifier: Apache-2.0
// What an answer of S3 that is no success means (s3.h lists the errors).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "http/message.h"

namespace atl::blob {

struct S3Response {
  int status = 0;
  http::Headers headers;
  std::string body;
};

struct S3Failure {
  Error error;
  bool retry = false;  // may go away by itself
  std::string region;  // the one that the bucket is in, where the answer tells
};

// Quotes little of the answer and nothing that could hide something in a log.
S3Failure FailureOf(const S3Response& response);

}  // namespace atl::blob
