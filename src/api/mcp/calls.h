// SPDX-License-Identifier: Apache-2.0
// The calls of tools that are under way. A cancellation is a request of its own, perhaps on another
// shard.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "async/mutex.h"

namespace atl::api::mcp {

class Calls {
 public:
  // Forgets the call when it is destroyed.
  class Entry {
   public:
    Entry(Calls& calls, std::string key);
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    async::Event& cancelled() { return *cancelled_; }

   private:
    Calls& calls_;
    std::string key_;
    std::shared_ptr<async::Event> cancelled_ = std::make_shared<async::Event>();
  };

  // Nothing happens when there is no such call, or no more.
  void Cancel(const std::string& key);

 private:
  std::mutex mutex_;
  std::multimap<std::string, std::shared_ptr<async::Event>> calls_;
};

}  // namespace atl::api::mcp
