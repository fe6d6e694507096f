// SPDX-License-Identifier: Apache-2.0
// Output as text, in pieces of whole code points: one that is cut by the end of a piece waits for
// its rest, for at most 3 bytes.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "json/utf8.h"

namespace atl::api::sdk {

class TextPieces {
 public:
  // What is whole of what has come.
  std::string Take(std::string_view data) {
    std::string whole = std::exchange(waiting_, {});
    whole += data;
    size_t tail = json::IncompleteTail(whole);
    waiting_ = whole.substr(whole.size() - tail);
    whole.resize(whole.size() - tail);
    return whole;
  }
  // What never became whole.
  std::string Rest() { return std::exchange(waiting_, {}); }

 private:
  std::string waiting_;
};

}  // namespace atl::api::sdk
