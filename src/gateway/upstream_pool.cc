// SPDX-License-Identifier: Apache-2.0
#include "gateway/upstream_pool.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace atl::gateway {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kSweepPause{250};

bool IsQuiet(int fd) {
  char byte = 0;
  ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && errno == EAGAIN;
}

struct Idle {
  async::Stream stream;
  Clock::time_point since;
};

using Key = std::pair<std::string, uint16_t>;

// What one shard has.
struct Shard {
  async::Executor executor;
  std::map<Key, std::vector<Idle>> idle;
  bool sweeps = false;
};

}  // namespace

struct UpstreamPool::Impl {
  explicit Impl(Limits of) : limits(of) {}

  const Limits limits;
  std::mutex mutex;
  std::vector<std::unique_ptr<Shard>> shards;  // a few
  size_t count = 0;

  Shard* Find(const async::Executor& executor) {
    auto found = std::ranges::find(shards, executor, [](const auto& one) { return one->executor; });
    return found == shards.end() ? nullptr : found->get();
  }

  // The youngest: those that are not needed grow old.
  std::optional<async::Stream> Pop(const async::Executor& executor, const Key& key) {
    std::lock_guard guard(mutex);
    Shard* own = Find(executor);
    if (own == nullptr) return std::nullopt;
    auto found = own->idle.find(key);
    if (found == own->idle.end() || found->second.empty()) return std::nullopt;
    async::Stream stream = std::move(found->second.back().stream);
    found->second.pop_back();
    --count;
    return stream;
  }

  // On the shard. False when it has none left, and the sweeper may end.
  bool Sweep(Shard& shard) {
    std::vector<async::Stream> closes;  // behind the mutex
    std::lock_guard guard(mutex);
    auto before = Clock::now() - limits.idle;
    for (auto& [key, of_port] : shard.idle) {
      std::erase_if(of_port, [&](Idle& one) {
        if (one.since > before && IsQuiet(one.stream.fd())) return false;
        closes.push_back(std::move(one.stream));
        --count;
        return true;
      });
    }
    std::erase_if(shard.idle, [](const auto& port) { return port.second.empty(); });
    shard.sweeps = !shard.idle.empty();
    return shard.sweeps;
  }

  static async::Task<> SweepWhileAny(std::weak_ptr<Impl> pool, Shard* shard) {
    while (true) {
      co_await async::Sleep(kSweepPause);
      std::shared_ptr<Impl> self = pool.lock();
      if (!self || !self->Sweep(*shard)) co_return;
    }
  }
};

UpstreamPool::UpstreamPool(Limits limits) : impl_(std::make_shared<Impl>(limits)) {}
UpstreamPool::~UpstreamPool() = default;

std::optional<async::Stream> UpstreamPool::Take(const async::Executor& shard,
                                                const std::string& iid, uint16_t port) {
  // Looked at and closed without the mutex.
  while (std::optional<async::Stream> stream = impl_->Pop(shard, Key(iid, port))) {
    if (IsQuiet(stream->fd())) return stream;
  }
  return std::nullopt;
}

void UpstreamPool::Keep(const std::string& iid, uint16_t port, async::Stream stream) {
  if (!stream.is_open()) return;
  async::Executor executor = stream.executor();
  std::lock_guard guard(impl_->mutex);
  if (impl_->count >= impl_->limits.total) return;
  Shard* own = impl_->Find(executor);
  if (own == nullptr) {
    impl_->shards.push_back(std::make_unique<Shard>());
    own = impl_->shards.back().get();
    own->executor = executor;
  }
  std::vector<Idle>& of_port = own->idle[Key(iid, port)];
  if (of_port.size() >= impl_->limits.per_port) return;
  of_port.push_back({.stream = std::move(stream), .since = Clock::now()});
  ++impl_->count;
  if (std::exchange(own->sweeps, true)) return;
  async::Spawn(executor, Impl::SweepWhileAny(impl_, own), "close idle connections to sandboxes");
}

size_t UpstreamPool::size() const {
  std::lock_guard guard(impl_->mutex);
  return impl_->count;
}

}  // namespace atl::gateway
