// SPDX-License-Identifier: Apache-2.0
// One request and its answer on one connection, for a thread that waits for it.
#pragma once

#include <chrono>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "blob/s3_error.h"
#include "blob/s3_pool.h"

namespace atl::blob {

struct S3Exchange {
  S3Connection connection;  // connected first where it is not
  std::string host;
  uint16_t port = 0;
  bool tls = false;
  std::string ca_file;
  http::RequestHead head;
  std::span<const std::string_view> body;
  uint64_t limit = 0;  // of the body of a success
  std::chrono::milliseconds idle_limit{0};
  std::chrono::milliseconds total_limit{0};

  Result<S3Response> response;
  bool reused = false;  // the connection had been kept
  bool heard = false;   // at least a byte of an answer has come
  bool timed_out = false;
  bool keep = false;  // the connection can take another request
};

// Fills in what came of it. kCancelled soon after `stop`; kTooLarge for an answer above the limit;
// anything else that is an error may go away by itself, but for the reason TLS_UNTRUSTED.
void RunExchange(S3Exchange& exchange, const std::stop_token& stop);

}  // namespace atl::blob
