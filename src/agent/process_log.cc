// SPDX-License-Identifier: Apache-2.0
#include "agent/process_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <utility>

namespace atl::agent {
namespace {

constexpr uint64_t kSegmentMs = 1000;

bool IsRegular(int fd) {
  struct stat status{};
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

// Programs inside may put anything there: no symlink, nothing that would keep us waiting.
sys::Fd OpenLog(const std::string& path, int flags) {
  auto file = sys::Open(path, flags | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (!file || !IsRegular(file->get())) return {};
  return *std::move(file);
}

}  // namespace

ProcessLog::ProcessLog(std::string path, Limits limits, bool goes_on)
    : path_(std::move(path)), limits_(limits), ring_(std::make_unique<Ring>(limits.ring_bytes)) {
  if (goes_on) {
    Continue();
    return;
  }
  Remove();
  file_ = OpenLog(path_, O_RDWR | O_CREAT | O_TRUNC);
  in_file_ = static_cast<bool>(file_);
}

void ProcessLog::Continue() {
  file_ = OpenLog(path_, O_RDWR | O_CREAT);
  in_file_ = static_cast<bool>(file_);
  if (!file_) return;
  struct stat now{};
  struct stat former{};
  fstat(file_.get(), &now);
  sys::Fd old = OpenLog(path_ + ".1", O_RDONLY);
  if (old) fstat(old.get(), &former);
  base_ = static_cast<uint64_t>(former.st_size);
  end_ = base_ + static_cast<uint64_t>(now.st_size);
  ring_ = std::make_unique<Ring>(limits_.ring_bytes, end_);
  if (end_ == 0) return;
  auto time_ms = static_cast<uint64_t>(now.st_mtim.tv_sec) * 1000;
  segments_.push_back({.offset = 0, .time_ms = time_ms, .err = false});
}

void ProcessLog::Remove() {
  unlink(path_.c_str());
  unlink((path_ + ".1").c_str());
}

void ProcessLog::Rotate() {
  std::string former = path_ + ".1";
  if (std::rename(path_.c_str(), former.c_str()) == 0) {
    former_base_ = base_;
  } else {
    former_base_ = end_;
  }
  base_ = end_;
  file_ = OpenLog(path_, O_RDWR | O_CREAT | O_TRUNC);
  in_file_ = static_cast<bool>(file_);
}

// Before `bytes` are counted.
void ProcessLog::Write(std::string_view bytes) {
  if (!in_file_) return;
  if (end_ - base_ >= limits_.file_bytes) Rotate();
  uint64_t at = end_ - base_;
  while (in_file_ && !bytes.empty()) {
    ssize_t count = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      // The disk is full: from now on there is what is in memory.
      in_file_ = false;
      file_.Reset();
      return;
    }
    at += static_cast<uint64_t>(count);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void ProcessLog::Append(bool err, std::string_view bytes, uint64_t time_ms) {
  if (bytes.empty()) return;
  Write(bytes);
  bool same = !segments_.empty() && segments_.back().err == err &&
              time_ms - segments_.back().time_ms < kSegmentMs;
  if (!same) {
    segments_.push_back({.offset = end_, .time_ms = time_ms, .err = err});
    if (segments_.size() > limits_.segments) segments_.pop_front();
  }
  ring_->Append(bytes);
  end_ += bytes.size();
}

void ProcessLog::Close() {
  file_.Reset();
  if (in_file_) ring_.reset();
  while (segments_.size() > limits_.ended_segments) segments_.pop_front();
  segments_.shrink_to_fit();
}

uint64_t ProcessLog::begin() const {
  uint64_t first = segments_.empty() ? end_ : segments_.front().offset;
  return std::max(first, in_file_ ? former_base_ : ring_->begin());
}

std::string ProcessLog::ReadFile(uint64_t offset, size_t count) const {
  bool former = offset < base_;
  uint64_t base = former ? former_base_ : base_;
  if (former) count = std::min<uint64_t>(count, base_ - offset);
  sys::Fd opened;
  if (former || !file_) opened = OpenLog(former ? path_ + ".1" : path_, O_RDONLY);
  int fd = opened ? opened.get() : file_.get();
  std::string bytes(count, '\0');
  size_t done = 0;
  while (fd >= 0 && done < count) {
    ssize_t got =
        pread(fd, bytes.data() + done, count - done, static_cast<off_t>(offset - base + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

std::optional<protocol::LogChunk> ProcessLog::Read(uint64_t offset, size_t limit) const {
  offset = std::max(offset, begin());
  if (offset >= end_ || limit == 0) return std::nullopt;
  auto after = std::ranges::upper_bound(segments_, offset, {}, &Segment::offset);
  const Segment& segment = *std::prev(after);
  uint64_t stop = after == segments_.end() ? end_ : after->offset;
  auto count =
      static_cast<size_t>(std::min<uint64_t>({stop - offset, limit, protocol::kMaxLogChunk}));
  protocol::LogChunk chunk{.offset = offset, .time_ms = segment.time_ms, .err = segment.err};
  bool in_ring = ring_ && offset >= ring_->begin();
  chunk.data = in_ring ? ring_->Read(offset, count) : ReadFile(offset, count);
  if (!chunk.data.empty()) return chunk;
  // Somebody inside has cut the file short or taken it away.
  if (ring_ && offset < ring_->begin()) return Read(ring_->begin(), limit);
  return std::nullopt;
}

}  // namespace atl::agent
