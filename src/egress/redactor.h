// SPDX-License-Identifier: Apache-2.0
// Keeps a secret out of a stream of bytes.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace atl::egress {

// Replaces every occurrence of a secret by as many stars, so that lengths stay true. Only bytes
// that may be the beginning of the secret are held back until more arrives.
class Redactor {
 public:
  // An empty secret redacts nothing.
  explicit Redactor(std::string secret) : secret_(std::move(secret)) {}

  // What may be passed on now.
  std::string Feed(std::string_view data);
  // The rest, at the end.
  std::string Finish() { return std::exchange(held_, {}); }

 private:
  std::string secret_;
  std::string held_;
};

// A whole text.
std::string Redact(const std::string& secret, std::string_view text);

}  // namespace atl::egress
