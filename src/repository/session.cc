// SPDX-License-Identifier: Apache-2.0
#include "repository/session.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "repository/unpacked.h"

namespace atl::repository {
namespace {

constexpr size_t kUploaders = 3;
// What packs may hold, whether they are being filled or on their way: three on their way and two
// being filled. More makes Save wait.
constexpr uint64_t kMaxHeldBytes = 72U << 20U;
constexpr size_t kMaxPackBlobs = 10'000;
// So little goes to a remote store in one pack, whatever is in it: a request less.
constexpr uint64_t kSmallSession = 4U << 20U;
constexpr std::chrono::seconds kCleanUp(5);

}  // namespace

SessionImpl::SessionImpl(RepositoryImpl& repository, IdSet leaving, std::stop_token stop)
    : repository_(repository),
      leaving_(std::move(leaving)),
      forward_stop_(std::move(stop), [this] { stop_.request_stop(); }) {
  trees_.trees = true;
}

SessionImpl::~SessionImpl() {
  stop_.request_stop();
  for (std::jthread& uploader : uploaders_) uploader.request_stop();
  uploaders_.clear();
  RemoveStored();
}

// Packs have random keys in their seals: nobody else can have made the same. What cannot be removed
// soon is rubbish for prune: the caller holds a lock, and the store may be the reason to give up.
void SessionImpl::RemoveStored() {
  if (stored_.empty()) return;
  std::stop_source late;
  const std::jthread timer([&late](const std::stop_token& done) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, done, kCleanUp, [] { return false; });
    late.request_stop();
  });
  for (const IndexedPack& pack : stored_) {
    if (late.stop_requested()) return;
    const auto key = KeyOf(FileType::kData, pack.pack);
    if (!repository_.store().Remove(key, late.get_token())) return;
  }
}

bool SessionImpl::Stored(const BlobHandle& handle) const {
  return leaving_.empty() ? repository_.index().Has(handle)
                          : repository_.index().HasOutside(handle, leaving_);
}

Result<void> SessionImpl::Usable() const {
  if (error_) return std::unexpected(*error_);
  if (stop_.stop_requested()) {
    return atl::Fail(Code::kCancelled, "stopped while blobs were stored");
  }
  return {};
}

void SessionImpl::Fail(Error error) {
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

Result<bool> SessionImpl::Claim(const BlobHandle& handle) {
  const bool stored = Stored(handle);
  const std::lock_guard lock(mutex_);
  TRY(Usable());
  if (stored || !taken_.insert(handle).second) return false;
  ++sealing_;
  return true;
}

Result<Session::Saved> SessionImpl::Save(BlobType type, std::string_view plain) {
  return Save({.type = type, .id = Hash(plain)}, plain);
}

Result<Session::Saved> SessionImpl::Save(BlobHandle handle, std::string_view plain) {
  ASSIGN(const bool mine, Claim(handle));
  if (mine) TRY(Append(SealBlob(repository_.key(), handle, plain)));
  return Saved{.id = handle.id, .added = mine};
}

Result<Session::Saved> SessionImpl::Save(SealedBlob sealed) {
  ASSIGN(const bool mine, Claim(sealed.handle));
  if (mine) TRY(Append(sealed));
  return Saved{.id = sealed.handle.id, .added = mine};
}

bool SessionImpl::Has(BlobHandle handle) const {
  {
    const std::lock_guard lock(mutex_);
    if (taken_.contains(handle)) return true;
  }
  return Stored(handle);
}

Result<void> SessionImpl::Append(const SealedBlob& sealed) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, stop_.get_token(), [&] {
    return error_ || pending_bytes_ == 0 ||
           pending_bytes_ + data_.bytes.size() + trees_.bytes.size() < kMaxHeldBytes;
  });
  --sealing_;
  if (auto usable = Usable(); !usable) {
    changed_.notify_all();
    return usable;
  }
  Pack& pack = sealed.handle.type == BlobType::kTree ? trees_ : data_;
  if (pack.bytes.size() + sealed.bytes.size() > kMaxPackBytes - kMaxPackHeader) Close(pack);
  const PackedBlob blob{.handle = sealed.handle,
                        .offset = static_cast<uint32_t>(pack.bytes.size()),
                        .length = static_cast<uint32_t>(sealed.bytes.size()),
                        .raw_length = sealed.raw_length};
  // At once what a full pack needs, so that it does not grow by doubling.
  if (pack.bytes.size() > (1U << 20U) && pack.bytes.capacity() < kPackBytes) {
    pack.bytes.reserve(kPackBytes + (2U << 20U));
  }
  pack.bytes += sealed.bytes;
  pack.blobs.push_back(blob);
  ++(sealed.handle.type == BlobType::kTree ? totals_.tree_blobs : totals_.data_blobs);
  totals_.added += blob.PlainLength();
  totals_.added_packed += blob.length;
  if (pack.bytes.size() >= kPackBytes || pack.blobs.size() >= kMaxPackBlobs) Close(pack);
  if (sealing_ == 0) changed_.notify_all();
  return {};
}

void SessionImpl::Close(Pack& pack) {
  if (pack.blobs.empty()) return;
  pending_bytes_ += pack.bytes.size();
  const bool trees = pack.trees;
  queue_.push_back(std::exchange(pack, Pack()));
  pack.trees = trees;
  closed_any_ = true;
  if (uploaders_.size() < kUploaders && queue_.size() + active_ > uploaders_.size()) {
    uploaders_.emplace_back([this](const std::stop_token& stop) { RunUploads(stop); });
  }
  changed_.notify_all();
}

// Trees go behind the data. A pack of both is one that is fetched whole for its trees.
void SessionImpl::MergeSmall() {
  if (closed_any_ || data_.blobs.empty() || trees_.blobs.empty()) return;
  if (!repository_.store().remote()) return;
  const size_t before = data_.bytes.size();
  if (before + trees_.bytes.size() >= kSmallSession) return;
  data_.bytes += trees_.bytes;
  for (PackedBlob blob : trees_.blobs) {
    blob.offset += static_cast<uint32_t>(before);
    data_.blobs.push_back(blob);
  }
  data_.trees = true;
  trees_ = Pack();
  trees_.trees = true;
}

Result<IndexedPack> SessionImpl::Upload(Pack pack) {
  const std::string header = EncodePackHeader(repository_.key(), pack.blobs);
  pack.bytes += header;
  const Id id = Hash(pack.bytes);
  TRY(repository_.store().Put(KeyOf(FileType::kData, id), pack.bytes, stop_.get_token()));
  // The next snapshot reads its parent's trees.
  if (pack.trees && repository_.store().remote()) {
    repository_.packs().Remember(id, std::make_shared<const std::string>(std::move(pack.bytes)));
  }
  const std::lock_guard lock(mutex_);
  totals_.added_packed += header.size();
  return IndexedPack{.pack = id, .blobs = std::move(pack.blobs)};
}

void SessionImpl::RunUploads(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!changed_.wait(lock, stop, [&] { return !queue_.empty(); })) return;
    if (stop.stop_requested()) return;
    Pack pack = std::move(queue_.front());
    queue_.pop_front();
    const uint64_t bytes = pack.bytes.size();
    ++active_;
    const bool useless = error_.has_value();
    lock.unlock();
    std::vector<IndexedPack> packs;
    Result<IndexedPack> uploaded;
    if (!useless) uploaded = Upload(std::move(pack));
    lock.lock();
    pending_bytes_ -= bytes;
    if (!uploaded) {
      Fail(std::move(uploaded).error());
    } else if (!useless) {
      stored_blobs_ += uploaded->blobs.size();
      stored_.push_back(std::move(*uploaded));
      if (stored_blobs_ + kMaxPackBlobs > kMaxIndexBlobs) {
        packs = std::exchange(stored_, {});
        stored_blobs_ = 0;
      }
    }
    if (!packs.empty()) {
      // An index on the way bounds what is held here, and what a kill makes rubbish of.
      changed_.notify_all();
      lock.unlock();
      auto written = WriteIndex(std::move(packs));
      lock.lock();
      if (!written) Fail(std::move(written).error());
    }
    --active_;
    changed_.notify_all();
  }
}

Result<void> SessionImpl::WriteIndex(std::vector<IndexedPack> packs) {
  IndexFile index;
  index.packs = std::move(packs);
  TRY(repository_.WriteIndex(index, stop_.get_token()));
  const std::lock_guard lock(mutex_);
  for (const IndexedPack& pack : index.packs) {
    for (const PackedBlob& blob : pack.blobs) taken_.erase(blob.handle);
  }
  return {};
}

Result<void> SessionImpl::Flush() {
  std::vector<IndexedPack> packs;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop_.get_token(), [&] { return error_ || sealing_ == 0; });
    TRY(Usable());
    MergeSmall();
    Close(data_);
    Close(trees_);
    changed_.wait(lock, stop_.get_token(),
                  [&] { return error_ || (queue_.empty() && active_ == 0); });
    TRY(Usable());
    packs = std::exchange(stored_, {});
    stored_blobs_ = 0;
  }
  if (packs.empty()) return {};
  auto written = WriteIndex(std::move(packs));
  if (!written) {
    const std::lock_guard lock(mutex_);
    Fail(written.error());
  }
  return written;
}

Session::Totals SessionImpl::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

Result<std::unique_ptr<Session>> RepositoryImpl::Begin(std::stop_token stop) {
  return std::make_unique<SessionImpl>(*this, IdSet(), std::move(stop));
}

Result<std::unique_ptr<Session>> RepositoryImpl::BeginRepack(const std::vector<Id>& leaving,
                                                             std::stop_token stop) {
  return std::make_unique<SessionImpl>(*this, IdSet(leaving.begin(), leaving.end()),
                                       std::move(stop));
}

}  // namespace atl::repository
