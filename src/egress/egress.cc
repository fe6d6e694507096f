// SPDX-License-Identifier: Apache-2.0
#include "egress/egress.h"

#include "egress/dns_service.h"
#include "egress/link.h"
#include "egress/network_setup.h"
#include "egress/relay.h"

namespace atl::egress {
namespace {

// Everything that serves the sandbox watches the link and ends by itself, on its own shard.
class LinkAttachment : public Attachment {
 public:
  explicit LinkAttachment(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~LinkAttachment() override { link_->closing.Set(); }
  LinkAttachment(const LinkAttachment&) = delete;
  LinkAttachment& operator=(const LinkAttachment&) = delete;
  Traffic traffic() const override {
    return {.sent_bytes = link_->sent_bytes, .received_bytes = link_->received_bytes};
  }
  uint16_t relay_port() const override { return link_->relay_port; }

 private:
  std::shared_ptr<Link> link_;
};

class NetworkNamespaceEgress : public Egress {
 public:
  NetworkNamespaceEgress(async::Runtime& runtime, std::shared_ptr<World> world)
      : runtime_(runtime), world_(std::move(world)) {}

  async::Task<Result<std::unique_ptr<Attachment>>> Attach(std::string iid, sys::Fd netns) override {
    auto set_up = [world = world_, netns = std::move(netns)] {
      NetworkSpec spec{world->policy->Refused(), world->options.host_ports};
      return SetUpNetwork(netns, spec);
    };
    Result<NetworkListeners> listeners = co_await runtime_.blocking().Run(std::move(set_up));
    if (!listeners) co_return std::unexpected(std::move(listeners).error().Wrap(iid));
    auto link = std::make_shared<Link>();
    link->iid = std::move(iid);
    link->world = world_;
    async::Executor shard = runtime_.NextShard();
    async::Listener tcp(shard, std::move(listeners->tcp));
    link->relay_port = tcp.port();
    async::Datagram dns(shard, std::move(listeners->dns));
    async::Spawn(shard, ServeConnections(link, std::move(tcp)), "serving a sandbox's connections");
    async::Spawn(shard, ServeDnsUdp(link, std::move(dns)), "serving a sandbox's DNS");
    std::unique_ptr<Attachment> attachment = std::make_unique<LinkAttachment>(link);
    co_return attachment;
  }

 private:
  async::Runtime& runtime_;
  std::shared_ptr<World> world_;
};

}  // namespace

Result<std::unique_ptr<Egress>> Egress::Make(async::Runtime& runtime, Options options,
                                             GatewayHandler gateway) {
  auto world = std::make_shared<World>();
  ASSIGN(world->policy, Policy::Make(options.deny));
  world->resolver = std::make_unique<Resolver>(options.nameservers, world->policy);
  world->options = std::move(options);
  world->gateway = std::move(gateway);
  std::unique_ptr<Egress> egress =
      std::make_unique<NetworkNamespaceEgress>(runtime, std::move(world));
  return egress;
}

}  // namespace atl::egress
