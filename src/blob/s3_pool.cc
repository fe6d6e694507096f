// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_pool.h"

#include <algorithm>

namespace atl::blob {
namespace {

// Servers and the address translators on the way forget connections after about a minute.
constexpr std::chrono::seconds kMaxIdle(50);

}  // namespace

S3Pool::Slot::~Slot() {
  if (pool_ == nullptr) return;
  {
    std::scoped_lock lock(pool_->mutex_);
    ++pool_->slots_;
  }
  pool_->slot_free_.notify_one();
}

Result<S3Pool::Slot> S3Pool::Acquire(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!slot_free_.wait(lock, stop, [&] { return slots_ > 0; })) {
    return Fail(Code::kCancelled, "cancelled");
  }
  --slots_;
  return Slot(this);
}

S3Connection S3Pool::Take(bool fresh) {
  std::vector<S3Connection> closed;  // outside of the lock
  std::scoped_lock lock(mutex_);
  if (fresh) {
    closed.swap(idle_);
  } else {
    auto oldest = std::chrono::steady_clock::now() - kMaxIdle;
    auto live = std::ranges::find_if(idle_, [&](auto& entry) { return entry.used_at >= oldest; });
    closed.assign(std::make_move_iterator(idle_.begin()), std::make_move_iterator(live));
    idle_.erase(idle_.begin(), live);
  }
  if (idle_.empty()) return {.executor = runtime_.NextShard(), .transport = nullptr, .used_at = {}};
  S3Connection connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void S3Pool::Give(S3Connection connection) {
  connection.used_at = std::chrono::steady_clock::now();
  std::scoped_lock lock(mutex_);
  idle_.push_back(std::move(connection));
}

}  // namespace atl::blob
