// SPDX-License-Identifier: Apache-2.0
// Connected stream sockets (TCP or unix) and their listeners, as coroutines see them.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "async/task.h"
#include "sys/fd.h"

namespace atl::async {

// A byte stream that both ends of a proxy, a tunnel or an agent connection look like. One read and
// one write may be under way at the same time; not more. Cancelled operations fail with kCancelled.
class Stream {
 public:
  // Takes a connected socket; sets it non-blocking.
  Stream(const Executor& executor, sys::Fd fd);
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  // At least one byte, or 0 at end of stream.
  Task<Result<size_t>> ReadSome(std::span<char> buffer);
  // All of it.
  Task<Result<void>> Write(std::string_view data);
  // All of both, as one writev where possible.
  Task<Result<void>> Write2(std::string_view first, std::string_view second);
  // Like ReadSome, but also takes up to one descriptor that was passed (SCM_RIGHTS).
  Task<Result<size_t>> ReadSomeWithFd(std::span<char> buffer, sys::Fd& received);
  // Returns when the peer has closed or reset the connection. Reads nothing: data that waits to be
  // read delays it only by polling. For a server that streams an answer.
  Task<> WaitForHangup();
  // The same, without a coroutine that waits: calls `gone` on the stream's own shard, at most once,
  // unless the watch is destroyed before. Nobody reads meanwhile.
  class HangupWatch {
   public:
    virtual ~HangupWatch() = default;
  };
  std::unique_ptr<HangupWatch> WatchHangup(std::function<void()> gone);
  // Returns when there is something to read, or end of stream.
  Task<Result<void>> WaitReadable();

  void ShutdownWrite();
  // Makes every pending operation fail; the socket stays open.
  void Interrupt();
  // Makes every pending operation fail and closes the socket.
  void Close();
  bool is_open() const;
  Executor executor() const;
  int fd() const;
  // The peer's address, "ip:port", or "unix".
  std::string PeerName() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Endpoint {
  std::string address;  // an IPv4 or IPv6 address without brackets
  uint16_t port = 0;
};
// "127.0.0.1:8787", "[::1]:8787"
Result<Endpoint> ParseEndpoint(std::string_view text);

Task<Result<Stream>> ConnectTcp(Endpoint endpoint, std::chrono::milliseconds timeout);
// Connects to a unix socket; paths longer than sun_path work.
Task<Result<Stream>> ConnectUnix(std::string path, std::chrono::milliseconds timeout);

class Listener {
 public:
  // Takes a bound, listening stream socket, of whatever network namespace it was made in.
  Listener(const Executor& executor, sys::Fd fd);
  ~Listener();
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;

  // Binds and listens on TCP with SO_REUSEADDR; port 0 picks one.
  static Result<sys::Fd> BindTcp(const Endpoint& endpoint, int backlog = 1024);
  // Binds and listens on a unix socket at `path`, replacing one that is there; long paths work.
  static Result<sys::Fd> BindUnix(const std::string& path, int backlog = 256);

  // The next connection (TCP_NODELAY is set). Backs off by itself while descriptors are short.
  Task<Result<sys::Fd>> Accept();
  uint16_t port() const;
  void Close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A bound UDP socket of whatever network namespace.
class Datagram {
 public:
  Datagram(const Executor& executor, sys::Fd fd);
  ~Datagram();
  Datagram(Datagram&&) noexcept;
  Datagram& operator=(Datagram&&) noexcept;

  struct Peer {
    alignas(8) unsigned char bytes[128];  // a sockaddr
    uint32_t size = 0;
  };
  Task<Result<size_t>> ReceiveFrom(std::span<char> buffer, Peer& peer);
  // Sends at once or drops: a full socket buffer loses datagrams as networks do.
  void SendTo(std::string_view data, const Peer& peer);
  void Close();
  int fd() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Copies both ways until both directions have ended, either fails, or nothing has moved for
// `idle`. Closes both. Returns how many bytes went from a to b and from b to a.
struct Relayed {
  uint64_t a_to_b = 0;
  uint64_t b_to_a = 0;
};
Task<Relayed> Relay(Stream& a, Stream& b, std::chrono::milliseconds idle);
// The same, and adds to these what moves, as it moves: others may read them meanwhile.
struct RelayCounts {
  std::atomic<uint64_t>* a_to_b = nullptr;
  std::atomic<uint64_t>* b_to_a = nullptr;
};
Task<Relayed> Relay(Stream& a, Stream& b, std::chrono::milliseconds idle, RelayCounts counts);

}  // namespace atl::async
