// SPDX-License-Identifier: Apache-2.0
#include "api/mcp/calls.h"

#include <utility>
#include <vector>

namespace atl::api::mcp {

Calls::Entry::Entry(Calls& calls, std::string key) : calls_(calls), key_(std::move(key)) {
  std::scoped_lock lock(calls_.mutex_);
  calls_.calls_.emplace(key_, cancelled_);
}

Calls::Entry::~Entry() {
  std::scoped_lock lock(calls_.mutex_);
  std::erase_if(calls_.calls_, [this](const auto& item) { return item.second == cancelled_; });
}

void Calls::Cancel(const std::string& key) {
  std::vector<std::shared_ptr<async::Event>> found;
  {
    std::scoped_lock lock(mutex_);
    auto [begin, end] = calls_.equal_range(key);
    for (auto it = begin; it != end; ++it) found.push_back(it->second);
  }
  for (const std::shared_ptr<async::Event>& event : found) event->Set();
}

}  // namespace atl::api::mcp
