// SPDX-License-Identifier: Apache-2.0
// Where blobs are kept by key: a directory or an S3-compatible store. A key is a relative path of
// `/`-separated parts, each [a-zA-Z0-9][a-zA-Z0-9._-]{0,199}. A blob appears whole or not at all
// and is durable when Put returns. Everything here blocks, and may be called from several threads
// at once; calls give up with kCancelled soon after `stop` is requested.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::blob {

struct Entry {
  std::string key;
  uint64_t size = 0;
  int64_t modified_ms = 0;  // Unix time; 0 where the store does not say
};

struct ListOptions {
  std::string prefix;       // "index/"; empty: everything
  std::string start_after;  // only keys behind this one, in byte order
};

// A blob of a length that is not known yet. Destroying it before Finish leaves nothing behind.
class StreamUpload {
 public:
  virtual ~StreamUpload() = default;
  virtual Result<void> Write(std::string_view data) = 0;
  virtual Result<void> Finish() = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // Replaces a blob of that key. The pieces are written one behind the other.
  virtual Result<void> Put(const std::string& key, std::span<const std::string_view> pieces,
                           std::stop_token stop = {}) = 0;
  Result<void> Put(const std::string& key, std::string_view data, std::stop_token stop = {}) {
    return Put(key, std::span(&data, 1), std::move(stop));
  }
  // kNotFound (BLOB_NOT_FOUND) when there is none; kTooLarge when it is longer than `limit`.
  virtual Result<std::string> Get(const std::string& key, uint64_t limit,
                                  std::stop_token stop = {}) = 0;
  // Exactly `length` bytes from `offset`; a blob that is shorter is kNotFound (BLOB_TRUNCATED).
  virtual Result<std::string> GetRange(const std::string& key, uint64_t offset, uint64_t length,
                                       std::stop_token stop = {}) = 0;
  // Nothing when there is no such blob.
  virtual Result<std::optional<uint64_t>> Size(const std::string& key,
                                               std::stop_token stop = {}) = 0;
  // All of them, in byte order of their keys.
  virtual Result<std::vector<Entry>> List(const ListOptions& options,
                                          std::stop_token stop = {}) = 0;
  // One that is missing is fine.
  virtual Result<void> Remove(const std::string& key, std::stop_token stop = {}) = 0;
  virtual Result<std::unique_ptr<StreamUpload>> PutStream(const std::string& key,
                                                          std::string content_type,
                                                          std::stop_token stop = {}) = 0;
  // An URL that gives the blob to whoever has it, until `valid` has passed. kFailedPrecondition
  // (PRESIGN_UNSUPPORTED) for a directory.
  virtual Result<std::string> Presign(const std::string& key, std::chrono::seconds valid) = 0;

  // "/var/lib/atoll/snapshots", "s3://bucket/prefix": for messages.
  virtual std::string name() const = 0;
  // True when a request costs a network's round trip: worth fewer, larger requests and a cache.
  virtual bool remote() const = 0;
  // Requests sent to the store so far (a directory counts none).
  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }

 protected:
  std::atomic<uint64_t> requests_ = 0;
};

}  // namespace atl::blob
