// SPDX-License-Identifier: Apache-2.0
#include "snapshot/chunk_pool.h"

#include <utility>

namespace atl::snapshot {

using repository::BlobHandle;
using repository::BlobType;
using repository::Id;

namespace {

constexpr size_t kMaxWaitingBytes = 16U << 20U;

}  // namespace

Result<Id> StoreBlob(repository::Session& session, BlobType type, std::string_view plain) {
  BlobHandle handle{.type = type, .id = repository::Hash(plain)};
  TRY(session.Save(handle, plain));
  return handle.id;
}

ChunkPool::ChunkPool(repository::Session& session, FirstError& errors, size_t threads)
    : session_(session), errors_(errors), thread_count_(threads) {}

ChunkPool::~ChunkPool() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Result<Id> ChunkPool::Store(std::string_view chunk) {
  return StoreBlob(session_, BlobType::kData, chunk);
}

Result<void> ChunkPool::Submit(std::string chunk, const std::string& path, Done done) {
  std::unique_lock lock(mutex_);
  while (threads_.size() < thread_count_) threads_.emplace_back([this] { Run(); });
  bool room = changed_.wait(lock, errors_.token(), [&] {
    return bytes_ == 0 || bytes_ + chunk.size() <= kMaxWaitingBytes;
  });
  if (!room) return errors_.Cancelled();
  bytes_ += chunk.size();
  jobs_.push_back({std::move(chunk), path, std::move(done)});
  lock.unlock();
  changed_.notify_all();
  return {};
}

void ChunkPool::Run() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      bool more =
          changed_.wait(lock, errors_.token(), [this] { return closing_ || !jobs_.empty(); });
      if (!more || closing_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    auto id = Store(job.chunk);
    if (!id) {
      errors_.Set(std::move(id).error().Wrap("cannot store " + job.path));
      return;
    }
    job.done(*id);
    {
      std::lock_guard lock(mutex_);
      bytes_ -= job.chunk.size();
    }
    changed_.notify_all();
  }
}

}  // namespace atl::snapshot
