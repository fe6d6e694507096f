// SPDX-License-Identifier: Apache-2.0
// Loads blobs ahead of who takes them in order: neighbours in a pack in one read, some reads at
// once, a bounded number of bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

class BlobAhead {
 public:
  using Plain = std::shared_ptr<const std::string>;

  BlobAhead(repository::Repository& repository, const std::stop_token& stop);
  ~BlobAhead();
  BlobAhead(const BlobAhead&) = delete;
  BlobAhead& operator=(const BlobAhead&) = delete;

  // True while it should be told of more; always when nothing is left to take.
  bool has_room() const { return wanted_bytes_ < kMaxWanted && wanted_ < kMaxBlobs; }
  uint64_t wanted_bytes() const { return wanted_bytes_; }  // that are not taken yet
  // A data blob that Next will give.
  void Want(const repository::Id& id);
  // Verified, in the order of Want.
  Result<Plain> Next();

 private:
  static constexpr uint64_t kMaxWanted = 32U << 20U;  // of plaintext, on the way and not taken
  static constexpr size_t kMaxBlobs = 16384;
  static constexpr int kThreads = 2;

  struct Blob {
    repository::Id id;
    repository::PackedBlob packed;
    uint64_t bytes = 0;
    Plain plain;
  };
  // What one read brings; of a blob that no index names, that alone.
  struct Group {
    std::optional<repository::Id> pack;
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t bytes = 0;
    std::vector<Blob> blobs;
    std::optional<Result<void>> done;
  };

  bool Joins(const Group& group, const repository::Repository::Location& at) const;
  void Submit();
  void Run();
  Result<void> Load(Group& group);
  Result<Plain> LoadAlone(const repository::Id& id);

  struct Stopper {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };
  repository::Repository& repository_;
  std::stop_source source_;
  std::stop_callback<Stopper> outer_;
  uint64_t wanted_bytes_ = 0;
  size_t wanted_ = 0;
  std::shared_ptr<Group> open_;                // the last one, which may still grow
  std::deque<std::shared_ptr<Group>> groups_;  // in order, the open one too
  size_t taken_ = 0;                           // of the first group

  std::mutex mutex_;  // guards what follows, and Group::done
  std::condition_variable_any changed_;
  std::deque<std::shared_ptr<Group>> jobs_;
  std::vector<std::jthread> threads_;
};

}  // namespace atl::snapshot
