// SPDX-License-Identifier: Apache-2.0
// Connections to ports inside sandboxes that wait for their next request. They wait briefly: a
// program that serves one connection at a time must not be kept by one that nobody uses.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "async/stream.h"

namespace atl::gateway {

// May be used from any shard. A connection stays with the shard that has made it.
class UpstreamPool {
 public:
  struct Limits {
    size_t per_port = 64;  // and shard
    size_t total = 512;
    std::chrono::milliseconds idle{1000};
  };
  UpstreamPool() : UpstreamPool(Limits()) {}
  explicit UpstreamPool(Limits limits);
  ~UpstreamPool();
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // One of the calling shard on which nothing has come, not even its end; nothing when there is
  // none. The other end may still close it before it has read a request.
  std::optional<async::Stream> Take(const async::Executor& shard, const std::string& iid,
                                    uint16_t port);
  // Called on the stream's shard. Nothing is pending on it, and the last response was whole.
  void Keep(const std::string& iid, uint16_t port, async::Stream stream);

  size_t size() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace atl::gateway
