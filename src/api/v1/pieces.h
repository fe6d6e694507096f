// SPDX-License-Identifier: Apache-2.0
// The body of an answer that comes in pieces.
#pragma once

#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "http/server.h"

namespace atl::api {

// Sends `first`, then what `reader.Next()` gives until that is empty. A failure in the middle cuts
// the connection: nobody shall take a part for the whole.
async::Task<> SendPieces(auto& reader, std::string_view first, http::Exchange& exchange) {
  Result<std::string_view> piece = first;
  while (piece && !piece->empty()) {
    Result<void> sent = co_await exchange.Write(*piece);
    if (!sent) {
      exchange.Abort();
      co_return;
    }
    piece = co_await reader.Next();
  }
  Result<void> finished;
  if (piece) finished = co_await exchange.Finish();
  if (!piece || !finished) exchange.Abort();
}

}  // namespace atl::api
