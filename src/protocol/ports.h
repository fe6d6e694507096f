// SPDX-License-Identifier: Apache-2.0
// What listens inside a sandbox, and connections to what has a path instead of a port.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/messages.h"

namespace atl::protocol {

// The TCP sockets that listen. Answers Ports.
struct ListPorts {
  static constexpr FrameType kType = FrameType::kListPorts;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const ListPorts&) const = default;
};

struct ListeningPort {
  std::string address;  // as text, IPv4 or IPv6
  uint32_t port = 0;
  uint32_t pid = 0;  // 0: not known whose it is, then the rest is empty
  std::string name;
  std::vector<std::string> argv;

  void Fields(this auto& self, auto& io) {
    io(self.address), io(self.port), io(self.pid), io(self.name), io(self.argv);
  }
  bool operator==(const ListeningPort&) const = default;
};

struct Ports {
  static constexpr FrameType kType = FrameType::kPorts;
  std::vector<ListeningPort> ports;
  bool complete = true;  // false: there are more than are told

  void Fields(this auto& self, auto& io) { io(self.ports), io(self.complete); }
  bool operator==(const Ports&) const = default;
};

// Connects to the unix stream socket at an absolute path. Answers Dialed as Dial does, or Error
// (SERVICE_NOT_RESPONDING).
struct DialPath {
  static constexpr FrameType kType = FrameType::kDialPath;
  static constexpr bool kRequest = true;
  std::string path;
  void Fields(this auto& self, auto& io) { io(self.path); }
  bool operator==(const DialPath&) const = default;
};

}  // namespace atl::protocol
