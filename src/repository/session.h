// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "repository/index_map.h"
#include "repository/repository_impl.h"

namespace atl::repository {

// Of one file of index/.
inline constexpr size_t kMaxIndexBlobs = 50'000;

class SessionImpl final : public Session {
 public:
  SessionImpl(RepositoryImpl& repository, IdSet leaving, std::stop_token stop);
  ~SessionImpl() override;

  Result<Saved> Save(BlobType type, std::string_view plain) override;
  Result<Saved> Save(BlobHandle handle, std::string_view plain) override;
  Result<Saved> Save(SealedBlob sealed) override;
  bool Has(BlobHandle handle) const override;
  Result<void> Flush() override;
  Totals totals() const override;

 private:
  // A pack that is being filled or on its way.
  struct Pack {
    std::string bytes;
    std::vector<PackedBlob> blobs;
    bool trees = false;
  };

  bool Stored(const BlobHandle& handle) const;
  // True: the blob is this caller's to put into a pack.
  Result<bool> Claim(const BlobHandle& handle);
  Result<void> Append(const SealedBlob& sealed);
  // All below: with the mutex held, unless they say otherwise.
  Result<void> Usable() const;
  void Close(Pack& pack);
  void MergeSmall();
  void Fail(Error error);
  void RunUploads(const std::stop_token& stop);
  // Without the mutex.
  Result<IndexedPack> Upload(Pack pack);
  Result<void> WriteIndex(std::vector<IndexedPack> packs);
  void RemoveStored();

  RepositoryImpl& repository_;
  const IdSet leaving_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> forward_stop_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<Error> error_;
  // Blobs of this session that no index file names yet.
  std::unordered_set<BlobHandle, BlobHandleHash> taken_;
  Pack data_;
  Pack trees_;
  std::deque<Pack> queue_;
  uint64_t pending_bytes_ = 0;  // of packs that are closed and not yet stored
  size_t sealing_ = 0;
  size_t active_ = 0;
  bool closed_any_ = false;
  std::vector<IndexedPack> stored_;  // and in no index file
  size_t stored_blobs_ = 0;
  Totals totals_;
  std::vector<std::jthread> uploaders_;
};

}  // namespace atl::repository
