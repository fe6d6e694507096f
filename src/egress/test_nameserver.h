// SPDX-License-Identifier: Apache-2.0
// A scripted nameserver on loopback, for the tests of this room.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "egress/dns_message.h"
#include "egress/test_support.h"

namespace atl::egress {

inline std::string NameOf(std::string_view dotted) {
  std::string out;
  while (!dotted.empty()) {
    std::string_view label = dotted.substr(0, dotted.find('.'));
    out += static_cast<char>(label.size());
    out += label;
    dotted.remove_prefix(std::min(label.size() + 1, dotted.size()));
  }
  return out + '\0';
}

inline std::string QueryFor(std::string_view name, uint16_t type = dns::kA) {
  dns::Question question;
  question.wire = NameOf(name) + '\0' + static_cast<char>(type) + std::string("\0\1", 2);
  return dns::BuildQuery(0x4242, question, false);
}

// A nameserver on loopback, UDP and TCP on one port. `script` makes the answers to a message; they
// are sent in order.
class Nameserver {
 public:
  using Script = std::function<std::vector<std::string>(const std::string&, bool tcp)>;
  explicit Nameserver(Script script)
      : script_(std::move(script)),
        // In this order: many more programs have a port of TCP.
        tcp_(BindLoopbackSocket(SOCK_STREAM)),
        udp_(BindLoopbackSocket(SOCK_DGRAM, PortOf(tcp_))),
        udp_thread_([this] { ServeUdp(); }),
        tcp_thread_([this] { ServeTcp(); }) {}
  ~Nameserver() {
    stopping_ = true;
    ConnectLoopback(port());
    sockaddr_in address = LoopbackAddress(port());
    sys::Fd wake(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ::sendto(wake.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address);
    udp_thread_.join();
    tcp_thread_.join();
  }
  uint16_t port() const { return PortOf(udp_); }
  async::Endpoint endpoint() const { return {"127.0.0.1", port()}; }
  int asked() const { return asked_; }

 private:
  void ServeUdp() {
    std::array<char, 4096> buffer;
    while (true) {
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto* plain = reinterpret_cast<sockaddr*>(&from);
      ssize_t n = ::recvfrom(udp_.get(), buffer.data(), buffer.size(), 0, plain, &size);
      if (stopping_) return;
      if (n <= 0) continue;
      ++asked_;
      for (const std::string& text : script_(std::string(buffer.data(), size_t(n)), false)) {
        ::sendto(udp_.get(), text.data(), text.size(), 0, plain, size);
      }
    }
  }
  void ServeTcp() {
    while (true) {
      sys::Fd fd = AcceptOne(tcp_);
      if (stopping_) return;
      std::array<char, 4096> buffer;
      ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
      if (n < 2) continue;
      for (const std::string& text : script_(std::string(buffer.data() + 2, size_t(n) - 2), true)) {
        SendText(fd,
                 std::string{static_cast<char>(text.size() >> 8U), static_cast<char>(text.size())} +
                     text);
      }
    }
  }

  Script script_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> asked_ = 0;
  sys::Fd tcp_;
  sys::Fd udp_;
  std::thread udp_thread_;
  std::thread tcp_thread_;
};

inline std::string Addresses(const std::string& query, const std::vector<uint32_t>& addresses) {
  return dns::BuildReply(*dns::ParseQuery(query), dns::kNoError, addresses);
}

}  // namespace atl::egress
