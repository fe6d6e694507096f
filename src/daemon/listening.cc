// SPDX-License-Identifier: Apache-2.0
// Where the daemon listens: sockets of its own, or those that an earlier daemon left to it.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/log.h"
#include "daemon/daemon.h"

namespace atl::daemon {

// Binds every address, or says why not; a host without IPv6 goes on without it.
Result<std::vector<BoundListener>> Daemon::Bind(const std::vector<async::Endpoint>& endpoints) {
  std::vector<BoundListener> bound;
  for (const async::Endpoint& endpoint : endpoints) {
    sys::Fd inherited;
    if (predecessor_) inherited = predecessor_->TakeListener(endpoint.address, endpoint.port);
    Result<sys::Fd> fd =
        inherited ? Result<sys::Fd>(std::move(inherited)) : async::Listener::BindTcp(endpoint);
    bool absent =
        !fd && (fd.error().sys_errno == EADDRNOTAVAIL || fd.error().sys_errno == EAFNOSUPPORT);
    if (absent && &endpoint != &endpoints.front()) {
      log::Warning("{}; going on without it", fd.error().message);
      continue;
    }
    if (!fd) {
      return std::unexpected(
          std::move(fd).error().Wrap("is another daemon running? set `listen` to another port"));
    }
    ASSIGN(sys::Fd copy, fd->Duplicate());
    uint16_t port = async::Listener(runtime_.shard(0), std::move(copy)).port();
    if (std::ranges::find(config_.host_ports, port) != config_.host_ports.end()) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("[egress] host_ports: {} is Atoll's own port; a sandbox that reached "
                              "it could command every other one",
                              port),
                  "BAD_CONFIG");
    }
    bool v6 = endpoint.address.find(':') != std::string::npos;
    bound.push_back(
        {.fd = std::move(*fd),
         .port = port,
         .address = fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), endpoint.address, port)});
  }
  return bound;
}

Result<void> Daemon::Listen() {
  ASSIGN(own_, async::ParseEndpoint(bound_.front().address));
  TRY(WriteAddress(config_.run_dir, bound_.front().address));
  uint16_t port = bound_.front().port;
  // First: as long as the earlier daemon has not heard it, nobody was served, and it can go on with
  // what it had.
  if (predecessor_) predecessor_->SayServing();
  TRY(Serve(bound_));
  serves_ = true;
  fmt::print("Atoll is at http://{}:{}\n", config_.domain, port);
  std::fflush(stdout);
  // The manager knows the process that it has started; this may be another.
  notifier_.Tell(
      fmt::format("READY=1\nMAINPID={}\nSTATUS=serving at {}", ::getpid(), bound_.front().address));
  return {};
}

Result<void> Daemon::Serve(std::span<const BoundListener> listeners) {
  for (const BoundListener& listener : listeners) {
    ASSIGN(sys::Fd copy, listener.fd.Duplicate());
    server_->Listen(std::move(copy), runtime_.shard(0), [this] { return runtime_.NextShard(); });
  }
  return {};
}

}  // namespace atl::daemon
