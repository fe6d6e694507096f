// SPDX-License-Identifier: Apache-2.0
// Heads and chunked bodies as an attacker sends them. A head that is accepted must be accepted
// again after it has been serialised, and mean the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/framing.h"

namespace {

void CheckRequest(std::string_view data) {
  auto head = atl::http::ParseRequestHead(data);
  if (!head) return;
  auto again = atl::http::ParseRequestHead(atl::http::Serialize(*head));
  // An HTTP/1.0 head is sent on as HTTP/1.1; everything else must hold.
  if (!again || again->framing != head->framing || again->host != head->host ||
      again->content_length != head->content_length || again->target != head->target) {
    std::abort();
  }
}

void CheckChunked(std::string_view data) {
  atl::http::ChunkedDecoder decoder;
  while (!data.empty() && !decoder.done()) {
    auto step = decoder.Decode(data);
    if (!step) return;
    if (step->consumed == 0 || step->data.size() > step->consumed) std::abort();
    data.remove_prefix(step->consumed);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view data(reinterpret_cast<const char*>(bytes), size);
  CheckRequest(data);
  (void)atl::http::ParseResponseHead(data, "GET");
  CheckChunked(data);
  return 0;
}
