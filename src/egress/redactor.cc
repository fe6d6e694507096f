// SPDX-License-Identifier: Apache-2.0
#include "egress/redactor.h"

#include <algorithm>

namespace atl::egress {

std::string Redactor::Feed(std::string_view data) {
  std::string text = std::exchange(held_, {});
  text += data;
  if (secret_.empty()) return text;
  for (size_t at = text.find(secret_); at != std::string::npos; at = text.find(secret_, at)) {
    std::fill_n(text.begin() + static_cast<std::ptrdiff_t>(at), secret_.size(), '*');
  }
  std::string_view secret = secret_;
  for (size_t n = std::min(text.size(), secret.size() - 1); n > 0; --n) {
    if (!std::string_view(text).ends_with(secret.substr(0, n))) continue;
    held_ = text.substr(text.size() - n);
    text.resize(text.size() - n);
    break;
  }
  return text;
}

std::string Redact(const std::string& secret, std::string_view text) {
  Redactor redactor(secret);
  std::string out = redactor.Feed(text);
  out += redactor.Finish();
  return out;
}

}  // namespace atl::egress
