// SPDX-License-Identifier: Apache-2.0
// A store in memory, for tests. It can claim to be remote, and a test can look at or break what is
// in it and fail requests.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "blob/store.h"

namespace atl::repository {

class MemoryStore : public blob::Store {
 public:
  explicit MemoryStore(bool remote = false) : remote_(remote) {}

  // Called before each request, without a lock; an error is what the request gives. Operations are
  // "put", "get", "range", "size", "list" and "remove".
  using Hook = std::function<Result<void>(std::string_view operation, const std::string& key)>;
  void SetHook(Hook hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::make_shared<const Hook>(std::move(hook));
  }

  std::vector<std::string> Keys(std::string_view prefix = {}) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> keys;
    for (const auto& [key, blob] : blobs_) {
      if (key.starts_with(prefix)) keys.push_back(key);
    }
    return keys;
  }
  std::string At(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    return blobs_.at(key).data;
  }
  void Set(const std::string& key, std::string data) {
    const std::lock_guard lock(mutex_);
    blobs_[key] = {.data = std::move(data), .modified_ms = NowMs()};
  }
  void SetModified(const std::string& key, int64_t modified_ms) {
    const std::lock_guard lock(mutex_);
    blobs_.at(key).modified_ms = modified_ms;
  }
  void Flip(const std::string& key, size_t byte) {
    const std::lock_guard lock(mutex_);
    blobs_.at(key).data.at(byte) ^= 1;
  }

  using Store::Put;
  Result<void> Put(const std::string& key, std::span<const std::string_view> pieces,
                   std::stop_token stop = {}) override {
    TRY(Begin("put", key, stop));
    std::string data;
    for (const std::string_view piece : pieces) data += piece;
    Set(key, std::move(data));
    return {};
  }
  Result<std::string> Get(const std::string& key, uint64_t limit,
                          std::stop_token stop = {}) override {
    TRY(Begin("get", key, stop));
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(key);
    if (found == blobs_.end()) return NotFound(key);
    if (found->second.data.size() > limit) return Fail(Code::kTooLarge, key + " is too long");
    return found->second.data;
  }
  Result<std::string> GetRange(const std::string& key, uint64_t offset, uint64_t length,
                               std::stop_token stop = {}) override {
    TRY(Begin("range", key, stop));
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(key);
    if (found == blobs_.end()) return NotFound(key);
    const std::string& data = found->second.data;
    if (offset > data.size() || length > data.size() - offset) {
      return Fail(Code::kNotFound, key + " is cut off", "BLOB_TRUNCATED");
    }
    return data.substr(offset, length);
  }
  Result<std::optional<uint64_t>> Size(const std::string& key, std::stop_token stop = {}) override {
    TRY(Begin("size", key, stop));
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(key);
    if (found == blobs_.end()) return std::nullopt;
    return found->second.data.size();
  }
  Result<std::vector<blob::Entry>> List(const blob::ListOptions& options,
                                        std::stop_token stop = {}) override {
    TRY(Begin("list", options.prefix, stop));
    const std::lock_guard lock(mutex_);
    std::vector<blob::Entry> entries;
    for (auto it = blobs_.upper_bound(options.start_after); it != blobs_.end(); ++it) {
      if (!it->first.starts_with(options.prefix)) continue;
      entries.push_back({.key = it->first,
                         .size = it->second.data.size(),
                         .modified_ms = it->second.modified_ms});
    }
    return entries;
  }
  Result<void> Remove(const std::string& key, std::stop_token stop = {}) override {
    TRY(Begin("remove", key, stop));
    const std::lock_guard lock(mutex_);
    blobs_.erase(key);
    return {};
  }
  Result<std::unique_ptr<blob::StreamUpload>> PutStream(const std::string& key,
                                                        std::string /*content_type*/,
                                                        std::stop_token /*stop*/ = {}) override {
    return std::make_unique<Upload>(*this, key);
  }
  Result<std::string> Presign(const std::string& /*key*/, std::chrono::seconds /*valid*/) override {
    return Fail(Code::kFailedPrecondition, "memory has no URLs", "PRESIGN_UNSUPPORTED");
  }
  std::string name() const override { return "memory"; }
  bool remote() const override { return remote_; }

 private:
  struct Blob {
    std::string data;
    int64_t modified_ms = 0;
  };
  class Upload : public blob::StreamUpload {
   public:
    Upload(MemoryStore& store, std::string key) : store_(store), key_(std::move(key)) {}
    Result<void> Write(std::string_view data) override {
      data_ += data;
      return {};
    }
    Result<void> Finish() override { return store_.Put(key_, std::string_view(data_)); }

   private:
    MemoryStore& store_;
    std::string key_;
    std::string data_;
  };

  static Unexpected NotFound(const std::string& key) {
    return Fail(Code::kNotFound, "there is no " + key, "BLOB_NOT_FOUND");
  }
  static int64_t NowMs() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  Result<void> Begin(std::string_view operation, const std::string& key,
                     const std::stop_token& stop) {
    if (remote_) requests_.fetch_add(1, std::memory_order_relaxed);
    if (stop.stop_requested()) return Fail(Code::kCancelled, "cancelled");
    std::shared_ptr<const Hook> hook;
    {
      const std::lock_guard lock(mutex_);
      hook = hook_;
    }
    if (hook && *hook) return (*hook)(operation, key);
    return {};
  }

  const bool remote_;
  mutable std::mutex mutex_;
  std::map<std::string, Blob> blobs_;
  std::shared_ptr<const Hook> hook_;
};

}  // namespace atl::repository
