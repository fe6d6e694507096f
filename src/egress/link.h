// SPDX-License-Identifier: Apache-2.0
// What the parts that serve one sandbox's network share. Internal to this room.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "async/mutex.h"
#include "base/counted.h"
#include "egress/egress.h"
#include "egress/policy.h"
#include "egress/resolver.h"

namespace atl::egress {

// Of all sandboxes.
struct World {
  Options options;
  std::shared_ptr<Policy> policy;
  std::unique_ptr<Resolver> resolver;
  GatewayHandler gateway;
};

// Of one sandbox. The counts belong to its shard.
struct Link {
  std::string iid;
  std::shared_ptr<World> world;
  async::Event closing;
  int connections = 0;
  int lookups = 0;
  uint16_t relay_port = 0;  // set once, before anybody else sees it
  // Of its own connections; read by other threads.
  std::atomic<uint64_t> sent_bytes = 0;
  std::atomic<uint64_t> received_bytes = 0;
};

}  // namespace atl::egress
