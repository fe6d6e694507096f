// SPDX-License-Identifier: Apache-2.0
#include "http/scratch.h"

#include <utility>
#include <vector>

namespace atl::http {
namespace {

constexpr size_t kKept = 8;

std::vector<std::unique_ptr<char[]>>& Kept() {
  thread_local std::vector<std::unique_ptr<char[]>> kept;
  return kept;
}

}  // namespace

Scratch::Scratch() {
  auto& kept = Kept();
  if (kept.empty()) {
    bytes_ = std::make_unique_for_overwrite<char[]>(kBytes);
  } else {
    bytes_ = std::move(kept.back());
    kept.pop_back();
  }
}

Scratch::~Scratch() {
  auto& kept = Kept();
  if (kept.size() < kKept) kept.push_back(std::move(bytes_));
}

}  // namespace atl::http
