// SPDX-License-Identifier: Apache-2.0
#include "snapshot/blob_ahead.h"

#include <fmt/format.h>

#include <utility>

namespace atl::snapshot {
namespace {

using repository::BlobHandle;
using repository::BlobType;
using repository::Id;

constexpr uint64_t kMaxRead = 4U << 20U;
constexpr uint64_t kMaxGroup = 8U << 20U;  // of plaintext
constexpr size_t kMaxGroupBlobs = 1024;
// Reading this much for nothing costs less than another read.
constexpr uint64_t kMaxGap = 64U << 10U;

}  // namespace

BlobAhead::BlobAhead(repository::Repository& repository, const std::stop_token& stop)
    : repository_(repository), outer_(stop, Stopper{&source_}) {
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Run(); });
}

BlobAhead::~BlobAhead() {
  source_.request_stop();
  threads_.clear();
}

bool BlobAhead::Joins(const Group& group, const repository::Repository::Location& at) const {
  if (group.pack != at.pack || group.blobs.size() >= kMaxGroupBlobs) return false;
  if (group.bytes + at.blob.PlainLength() > kMaxGroup) return false;
  if (group.blobs.back().id == at.blob.handle.id) return true;
  return at.blob.offset >= group.end && at.blob.offset - group.end <= kMaxGap &&
         at.blob.offset + at.blob.length - group.begin <= kMaxRead;
}

void BlobAhead::Want(const Id& id) {
  auto at = repository_.Find({BlobType::kData, id});
  if (!open_ || !at || !Joins(*open_, *at)) {
    Submit();
    open_ = std::make_shared<Group>();
    groups_.push_back(open_);
    if (at) {
      open_->pack = at->pack;
      open_->begin = at->blob.offset;
    }
  }
  Blob blob{.id = id};
  if (at) {
    blob.packed = at->blob;
    blob.bytes = at->blob.PlainLength();
    open_->end = uint64_t{at->blob.offset} + at->blob.length;
  }
  open_->bytes += blob.bytes;
  wanted_bytes_ += blob.bytes;
  ++wanted_;
  open_->blobs.push_back(std::move(blob));
}

void BlobAhead::Submit() {
  if (!open_) return;
  std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(open_));
  open_ = nullptr;
  changed_.notify_all();
}

Result<BlobAhead::Plain> BlobAhead::Next() {
  if (groups_.empty()) return Fail(Code::kInternal, "no blob was asked for");
  if (groups_.front() == open_ || !has_room()) Submit();
  Group& group = *groups_.front();
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, source_.get_token(), [&] { return group.done.has_value(); })) {
      return Fail(Code::kCancelled, "reading was given up");
    }
    if (!*group.done) return std::unexpected(group.done->error());
  }
  Blob& blob = group.blobs[taken_++];
  wanted_bytes_ -= blob.bytes;
  --wanted_;
  Plain plain = std::move(blob.plain);
  if (taken_ == group.blobs.size()) {
    groups_.pop_front();
    taken_ = 0;
  }
  return plain;
}

void BlobAhead::Run() {
  while (true) {
    std::shared_ptr<Group> group;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, source_.get_token(), [&] { return !jobs_.empty(); })) return;
      group = std::move(jobs_.front());
      jobs_.pop_front();
    }
    Result<void> done = Load(*group);
    std::lock_guard lock(mutex_);
    group->done = std::move(done);
    changed_.notify_all();
  }
}

Result<void> BlobAhead::Load(Group& group) {
  std::string sealed;
  if (group.pack) {
    auto read = repository_.ReadPack(*group.pack, group.begin, group.end - group.begin, false,
                                     source_.get_token());
    if (read) {
      sealed = *std::move(read);
    } else if (read.error().code == Code::kCancelled) {
      return Unexpected(read.error());
    }
  }
  Plain previous;
  for (size_t i = 0; i < group.blobs.size(); ++i) {
    Blob& blob = group.blobs[i];
    if (i > 0 && group.blobs[i - 1].id == blob.id) {
      blob.plain = previous;
      continue;
    }
    if (!sealed.empty()) {
      auto plain = repository::OpenBlob(
          repository_.key(), blob.packed,
          std::string_view(sealed).substr(blob.packed.offset - group.begin, blob.packed.length));
      if (plain) blob.plain = std::make_shared<const std::string>(*std::move(plain));
    }
    if (!blob.plain) {
      ASSIGN(blob.plain, LoadAlone(blob.id));
    }
    previous = blob.plain;
  }
  return {};
}

// The pack is damaged or gone. Another one may have the blob, or a prune has moved it.
Result<BlobAhead::Plain> BlobAhead::LoadAlone(const Id& id) {
  BlobHandle handle{BlobType::kData, id};
  auto plain = repository_.Load(handle, source_.get_token());
  if (!plain && plain.error().code == Code::kInternal && repository_.Refresh(source_.get_token())) {
    plain = repository_.Load(handle, source_.get_token());
  }
  if (!plain) return std::unexpected(std::move(plain).error());
  return std::make_shared<const std::string>(*std::move(plain));
}

}  // namespace atl::snapshot
