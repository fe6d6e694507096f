// SPDX-License-Identifier: Apache-2.0
#include "sandbox/id.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "crypto/bytes.h"
#include "crypto/sha256.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxLength = 39;
constexpr std::array<std::string_view, 3> kReserved = {"www", "api", "sdk"};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAllowed(char c) { return (c >= 'a' && c <= 'z') || IsDigit(c) || c == '-'; }

// What is wrong with it; empty when nothing is.
std::string_view Objection(std::string_view id) {
  if (id.empty()) return "it is empty";
  if (id.size() > kMaxLength) return "it has more than 39 characters";
  if (!std::ranges::all_of(id, IsAllowed)) return "only a-z, 0-9 and hyphens are allowed";
  if (id.front() == '-' || id.back() == '-') return "it begins or ends with a hyphen";
  if (id.contains("--")) return "it has two hyphens in a row";
  // "3000-demo" is a port of demo.
  size_t digits = static_cast<size_t>(std::ranges::find_if_not(id, IsDigit) - id.begin());
  if (digits > 0 && digits < id.size() && id[digits] == '-') {
    return "it begins with a number and a hyphen, which names a port";
  }
  if (std::ranges::find(kReserved, id) != kReserved.end()) return "the name is reserved";
  return {};
}

}  // namespace

Result<void> ValidateId(std::string_view id) {
  std::string_view objection = Objection(id);
  if (objection.empty()) return {};
  // What is quoted comes from outside: bounded, and only where it is printable.
  bool printable = std::ranges::all_of(id, [](char c) { return c > ' ' && c <= '~' && c != '"'; });
  std::string shown = printable ? std::string(id.substr(0, 64)) : std::string("…");
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is no sandbox id: {}", shown, objection),
              "INVALID_SANDBOX_ID");
}

std::string NewId(std::string_view key) {
  std::array<unsigned char, 16> bytes{};
  if (key.empty()) {
    crypto::FillRandom(bytes);
  } else {
    auto digest = crypto::Sha256Of(fmt::format("sandbox of {}", key));
    std::copy_n(digest.begin(), bytes.size(), bytes.begin());
  }
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  std::string id;
  unsigned held = 0;
  unsigned bits = 0;
  for (unsigned char byte : bytes) {
    held = (held << 8U | byte) & 0xFFFU;
    for (bits += 8; bits >= 5; bits -= 5) id += kAlphabet[(held >> (bits - 5U)) & 31U];
  }
  id += kAlphabet[(held << (5U - bits)) & 31U];
  return id;
}

Error NoSuchSandbox(std::string_view id) {
  return Error{.code = Code::kNotFound,
               .message = fmt::format("there is no sandbox {}", id),
               .reason = "SANDBOX_NOT_FOUND"};
}

std::string NewInternalId() { return crypto::RandomHex(8); }

}  // namespace atl::sandbox
