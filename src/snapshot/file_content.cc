// SPDX-License-Identifier: Apache-2.0
#include "snapshot/file_content.h"

#include <algorithm>
#include <array>
#include <utility>

namespace atl::snapshot {

using repository::Id;
using repository::kMinChunk;

namespace {

// A file may have grown since it was listed, but what its ids cost was reckoned with its size.
constexpr uint64_t kGrowthChunks = 8192;
// 32 MiB of ids: what one file may cost in memory.
constexpr uint64_t kMaxChunks = 1U << 20U;
// Most chunks are shorter; the string grows for those that are not.
constexpr size_t kUsualChunk = 3U << 19U;

constexpr std::array<char, 64U << 10U> kZeros{};

}  // namespace

Result<std::optional<Id>> ZeroChunk::Get() {
  std::lock_guard lock(mutex_);
  if (known_) return id_;
  std::string zeros(kMinChunk, '\0');
  repository::Chunker chunker(tables_);
  auto cut = chunker.Next(zeros);
  if (cut && *cut == kMinChunk) {
    ASSIGN(id_, pool_.Store(zeros));
  }
  known_ = true;
  return id_;
}

size_t FileContent::Reserve() {
  std::lock_guard lock(mutex_);
  ids_.emplace_back();
  ++missing_;
  return ids_.size() - 1;
}

void FileContent::Fill(size_t place, const Id& id) {
  Stored stored;
  std::vector<Id> ids;
  {
    std::lock_guard lock(mutex_);
    ids_[place] = id;
    --missing_;
    if (missing_ > 0 || !stored_) return;
    stored = std::exchange(stored_, nullptr);
    ids = std::move(ids_);
  }
  stored(std::move(ids));
}

void FileContent::Repeat(const Id& id, uint64_t times) {
  std::lock_guard lock(mutex_);
  ids_.insert(ids_.end(), times, id);
}

size_t FileContent::count() {
  std::lock_guard lock(mutex_);
  return ids_.size();
}

void FileContent::WhenStored(Stored stored) {
  std::vector<Id> ids;
  {
    std::lock_guard lock(mutex_);
    if (missing_ > 0) {
      stored_ = std::move(stored);
      return;
    }
    ids = std::move(ids_);
  }
  stored(std::move(ids));
}

void FileCutter::Begin(std::string path, uint64_t size) {
  path_ = std::move(path);
  size_ = size;
  bytes_ = 0;
  max_chunks_ = std::min(size / kMinChunk + kGrowthChunks, kMaxChunks);
  chunker_.Reset();
  chunk_.clear();
  content_ = std::make_shared<FileContent>();
}

Result<void> FileCutter::CheckCount(uint64_t more) {
  if (more > max_chunks_ || content_->count() > max_chunks_ - more) {
    return Fail(Code::kTooLarge, path_ + " is too large for a snapshot", "FILE_TOO_LARGE");
  }
  return {};
}

Result<size_t> FileCutter::Take(std::string_view bytes) {
  std::optional<size_t> cut = chunker_.Next(bytes);
  size_t taken = cut.value_or(bytes.size());
  if (chunk_.capacity() < kUsualChunk && chunk_.size() + taken > chunk_.capacity() &&
      size_ > bytes_ + kMinChunk) {
    chunk_.reserve(kUsualChunk);
  }
  chunk_.append(bytes.substr(0, taken));
  bytes_ += taken;
  if (cut) TRY(EndChunk(false));
  return taken;
}

Result<void> FileCutter::Bytes(std::string_view bytes) {
  while (!bytes.empty()) {
    ASSIGN(size_t taken, Take(bytes));
    bytes.remove_prefix(taken);
  }
  return {};
}

Result<void> FileCutter::Hole(uint64_t length) {
  while (length > 0) {
    if (chunk_.empty() && length >= kMinChunk) {
      ASSIGN(std::optional<Id> zero, zero_.Get());
      if (zero) {
        uint64_t times = length / kMinChunk;
        TRY(CheckCount(times));
        content_->Repeat(*zero, times);
        bytes_ += times * kMinChunk;
        length -= times * kMinChunk;
        continue;
      }
    }
    std::string_view zeros(kZeros.data(), std::min<uint64_t>(length, kZeros.size()));
    ASSIGN(size_t taken, Take(zeros));
    length -= taken;
  }
  return {};
}

Result<void> FileCutter::EndChunk(bool last) {
  TRY(CheckCount(1));
  size_t place = content_->Reserve();
  if (last && place == 0) {
    ASSIGN(Id id, pool_.Store(chunk_));
    content_->Fill(place, id);
    chunk_.clear();
    return {};
  }
  auto fill = [content = content_, place](const Id& id) { content->Fill(place, id); };
  return pool_.Submit(std::exchange(chunk_, {}), path_, std::move(fill));
}

Result<std::shared_ptr<FileContent>> FileCutter::Finish() {
  if (!chunk_.empty()) TRY(EndChunk(true));
  return std::exchange(content_, nullptr);
}

}  // namespace atl::snapshot
