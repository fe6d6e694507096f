// SPDX-License-Identifier: Apache-2.0
// WebSocket frames from a hostile peer: nothing may crash, nothing may be held above its bound, and
// how the bytes are cut must make no difference.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/websocket_frame.h"

namespace {

constexpr size_t kLimit = 300;

// What came, as text that two runs can be compared by.
std::string Parse(std::string_view bytes, size_t piece, atl::http::Role role) {
  std::string seen;
  atl::http::WebSocketParser parser(role, kLimit);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    parser.Feed(bytes.substr(at, piece));
    while (true) {
      auto event = parser.Next();
      if (!event) {
        if (parser.close_code() == 0 || !atl::http::IsCloseCode(parser.close_code())) std::abort();
        return seen + "refused " + std::to_string(parser.close_code());
      }
      if (!*event) break;
      if ((*event)->data.size() > kLimit) std::abort();
      if ((*event)->opcode == atl::http::Opcode::kContinuation) std::abort();
      seen += std::to_string(static_cast<int>((*event)->opcode)) + ":" + (*event)->data + "\n";
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto role = (data[0] & 1U) != 0 ? atl::http::Role::kServer : atl::http::Role::kClient;
  size_t piece = static_cast<size_t>(data[0] >> 1U) + 1;
  if (Parse(bytes, piece, role) != Parse(bytes, bytes.size(), role)) std::abort();
  return 0;
}
