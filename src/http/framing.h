// SPDX-License-Identifier: Apache-2.0
// The one parser of HTTP/1.1 heads and bodies (RFC 9110, 9112), strict where leniency lets two
// programs disagree about where a message ends. Refused: any Transfer-Encoding but exactly
// `chunked`, Transfer-Encoding with Content-Length or with HTTP/1.0, differing or malformed
// Content-Length, other than one Host, an absolute-form target that contradicts Host, obs-fold,
// white space before a colon, bare CR or LF, control bytes, malformed chunk sizes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "http/message.h"

namespace atl::http {

inline constexpr size_t kMaxHeadBytes = 64 * 1024;
inline constexpr size_t kMaxHeaderCount = 200;

// How many bytes of `data` are the head, the empty line included; 0 when it is not complete yet.
size_t FindHeadEnd(std::string_view data);

// `head` is a complete head, the empty line included. Failures are kInvalidArgument (400), or
// kTooLarge with reason HEADERS_TOO_LARGE (431); unsupported methods and versions are 400 too.
Result<RequestHead> ParseRequestHead(std::string_view head);

// `request_method` decides whether there is a body (HEAD, CONNECT). Failures are kBadGateway.
Result<ResponseHead> ParseResponseHead(std::string_view head, std::string_view request_method);

// Takes a chunked body apart, in pieces of any size.
class ChunkedDecoder {
 public:
  struct Step {
    size_t consumed = 0;    // of the input
    std::string_view data;  // body bytes, a part of the input
  };
  // Consumes up to and including one piece of data. Call it again with the rest.
  Result<Step> Decode(std::string_view input);
  bool done() const { return state_ == State::kDone; }

 private:
  enum class State { kSize, kData, kDataEnd, kTrailer, kDone };
  Result<size_t> TakeLine(std::string_view input, bool& complete);
  Result<void> BeginChunk();

  State state_ = State::kSize;
  std::string line_;
  uint64_t left_ = 0;
  size_t trailer_bytes_ = 0;
};

}  // namespace atl::http
