// SPDX-License-Identifier: Apache-2.0
// How a sandbox reaches the world: it has only `lo`; its TCP connections and DNS queries are
// redirected, inside its own network namespace, to listeners that belong to the daemon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/runtime.h"
#include "async/stream.h"
#include "http/server.h"
#include "sys/fd.h"

namespace atl::egress {

struct Options {
  // Ports of the host's loopback that sandboxes reach as host.atoll:<port>.
  std::vector<uint16_t> host_ports;
  // Where names are looked up; empty: the nameservers of /etc/resolv.conf.
  std::vector<async::Endpoint> nameservers;
  // "address/prefix" ranges to refuse beside the built-in ones and the host's own addresses.
  std::vector<std::string> deny;
};

// Answers HTTP requests to gateway.atoll:80 from inside the sandbox `iid`.
using GatewayHandler = std::function<async::Task<>(std::string iid, http::Exchange& exchange)>;

// Of its own connections to elsewhere, those that are open included. What the daemon fetches for it
// (model, names) is not in it.
struct Traffic {
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

// The daemon's ends of one sandbox's network. Destroying it closes listeners and connections.
class Attachment {
 public:
  virtual ~Attachment() = default;
  // May be called from any thread.
  virtual Traffic traffic() const { return {}; }
  // The TCP port inside that connections to elsewhere are led to; 0: none.
  virtual uint16_t relay_port() const { return 0; }
};

class Egress {
 public:
  virtual ~Egress() = default;

  // Configures the network namespace `netns` (lo, routes, rules, listeners). Also for a sandbox
  // that outlived an earlier daemon: rules and listeners are made anew in the namespace as it is.
  virtual async::Task<Result<std::unique_ptr<Attachment>>> Attach(std::string iid,
                                                                  sys::Fd netns) = 0;

  static Result<std::unique_ptr<Egress>> Make(async::Runtime& runtime, Options options,
                                              GatewayHandler gateway);
};

}  // namespace atl::egress
