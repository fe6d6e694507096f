// SPDX-License-Identifier: Apache-2.0
#include "http/sse.h"

namespace atl::http {

ResponseHead EventStreamHead() {
  ResponseHead head;
  head.headers.Add("Content-Type", "text/event-stream; charset=utf-8");
  head.headers.Add("Cache-Control", "no-cache, no-transform");
  head.headers.Add("X-Accel-Buffering", "no");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  return head;
}

std::string EventText(std::string_view json) {
  std::string text = "data: ";
  text += json;
  text += "\n\n";
  return text;
}

}  // namespace atl::http
