// SPDX-License-Identifier: Apache-2.0
// Blocking sockets on loopback, for the tests of this room.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <string>
#include <string_view>

#include "async/stream.h"
#include "sys/fd.h"

namespace atl::egress {

inline void SetReceiveTimeout(const sys::Fd& fd, int seconds) {
  timeval limit{.tv_sec = seconds, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

inline sockaddr_in LoopbackAddress(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

inline uint16_t PortOf(const sys::Fd& fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

// Bound to a free port of 127.0.0.1, or to `port`; listening when it is a stream.
inline sys::Fd BindLoopbackSocket(int type, uint16_t port = 0) {
  sys::Fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = LoopbackAddress(port);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  if (type == SOCK_STREAM) EXPECT_EQ(::listen(fd.get(), 16), 0);
  SetReceiveTimeout(fd, 20);
  return fd;
}

inline sys::Fd ConnectLoopback(uint16_t port) {
  sys::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = LoopbackAddress(port);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  SetReceiveTimeout(fd, 20);
  return fd;
}

inline sys::Fd AcceptOne(const sys::Fd& listener) {
  sys::Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (fd) SetReceiveTimeout(fd, 20);
  return fd;
}

inline void SendText(const sys::Fd& fd, std::string_view text) {
  EXPECT_TRUE(sys::WriteAll(fd.get(), text));
}

// Reads until `end` has come, or the connection ends.
inline std::string ReadUntil(const sys::Fd& fd, std::string_view end) {
  std::string text;
  std::array<char, 4096> buffer;
  while (end.empty() || text.find(end) == std::string::npos) {
    ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return text;
}

inline std::string ReadToEnd(const sys::Fd& fd) { return ReadUntil(fd, ""); }

}  // namespace atl::egress
