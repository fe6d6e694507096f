// SPDX-License-Identifier: Apache-2.0
// Turns a file's bytes and holes into the ids of its chunks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/chunker.h"
#include "snapshot/chunk_pool.h"

namespace atl::snapshot {

// The chunk that 512 KiB of zeros give, once per snapshot: a hole costs no hashing.
class ZeroChunk {
 public:
  ZeroChunk(ChunkPool& pool, std::shared_ptr<const repository::ChunkerTables> tables)
      : pool_(pool), tables_(std::move(tables)) {}
  // Nothing when the chunker would cut such zeros elsewhere.
  Result<std::optional<repository::Id>> Get();

 private:
  ChunkPool& pool_;
  std::shared_ptr<const repository::ChunkerTables> tables_;
  std::mutex mutex_;
  bool known_ = false;
  std::optional<repository::Id> id_;
};

// What was read of one file. Chunks are filled in by the pool.
class FileContent {
 public:
  using Stored = std::function<void(std::vector<repository::Id> ids)>;

  size_t Reserve();  // a place for the next chunk's id
  void Fill(size_t place, const repository::Id& id);
  void Repeat(const repository::Id& id, uint64_t times);
  size_t count();
  // Calls `stored` as soon as all places are filled: now, or by whoever fills the last.
  void WhenStored(Stored stored);

 private:
  std::mutex mutex_;
  std::vector<repository::Id> ids_;
  size_t missing_ = 0;
  Stored stored_;
};

// Cuts one file after the other. A file of one chunk is stored by the caller's thread, the chunks
// of larger ones by the pool.
class FileCutter {
 public:
  FileCutter(ChunkPool& pool, ZeroChunk& zero,
             std::shared_ptr<const repository::ChunkerTables> tables)
      : pool_(pool), zero_(zero), chunker_(std::move(tables)) {}

  // `size`: about how long it is. One that is far longer is an error (FILE_TOO_LARGE).
  void Begin(std::string path, uint64_t size);
  Result<void> Bytes(std::string_view bytes);
  Result<void> Hole(uint64_t length);
  // Everything has come.
  Result<std::shared_ptr<FileContent>> Finish();

  uint64_t bytes() const { return bytes_; }

 private:
  // Up to the end of the current chunk; how much was taken.
  Result<size_t> Take(std::string_view bytes);
  Result<void> EndChunk(bool last);
  Result<void> CheckCount(uint64_t more);

  ChunkPool& pool_;
  ZeroChunk& zero_;
  repository::Chunker chunker_;
  std::string path_;
  uint64_t size_ = 0;
  uint64_t bytes_ = 0;
  uint64_t max_chunks_ = 0;
  std::string chunk_;
  std::shared_ptr<FileContent> content_;
};

}  // namespace atl::snapshot
