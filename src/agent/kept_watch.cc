// SPDX-License-Identifier: Apache-2.0
#include "agent/kept_watch.h"

#include <algorithm>
#include <utility>

namespace atl::agent {
namespace {

constexpr size_t kFrameBytes = 64U << 10U;

size_t BytesOf(const protocol::FileEvent& event) { return sizeof(event) + event.path.size(); }

}  // namespace

void KeptWatch::ClearWake() const {
  eventfd_t count = 0;
  eventfd_read(wake_.get(), &count);
}

bool KeptWatch::Join(const protocol::KeepWatch& request, uint64_t* viewer) {
  std::lock_guard lock(mutex);
  if (given_up_ || request.what != request_.what || request.after >= first_ + events_.size()) {
    return false;
  }
  *viewer = next_viewer_++;
  viewers_.push_back({.id = *viewer, .after = request.after});
  Wake();
  return true;
}

void KeptWatch::Leave(uint64_t viewer) {
  std::lock_guard lock(mutex);
  std::erase_if(viewers_, [&](const Viewer& one) { return one.id == viewer; });
  if (viewers_.empty()) left_at_ = Clock::now();
  Wake();
}

KeptWatch::Viewer* KeptWatch::Find(uint64_t id) {
  auto found = std::ranges::find(viewers_, id, &Viewer::id);
  return found == viewers_.end() ? nullptr : &*found;
}

KeptWatch::Piece KeptWatch::Take(uint64_t viewer) {
  std::lock_guard lock(mutex);
  Piece piece;
  Viewer* one = Find(viewer);
  if (one == nullptr) return piece;
  if (watching_ && !one->told) {
    one->told = true;
    piece.watching = watching_;
    return piece;
  }
  protocol::Writer writer;
  size_t bytes = 0;
  bool gap = one->after + 1 < first_;
  if (gap) {
    one->after = first_ - 1;
    writer.U64(one->after);
    writer(protocol::FileEvent{.kind = protocol::FileEventKind::kOverflow});
  }
  uint64_t end = first_ + events_.size();
  bool some = one->after + 1 < end;
  if (some && !gap) writer.U64(one->after + 1);
  while (one->after + 1 < end && bytes < kFrameBytes) {
    const protocol::FileEvent& event = events_[one->after + 1 - first_];
    writer(event);
    bytes += BytesOf(event);
    ++one->after;
  }
  if (gap || some) {
    piece.events = std::move(writer).Take();
    Wake();
    return piece;
  }
  piece.over = over_;
  piece.failure = failure_;
  return piece;
}

void KeptWatch::Announce() {
  for (int fd : watchers) eventfd_write(fd, 1);
}

void KeptWatch::Begun(protocol::Watching watching) {
  std::lock_guard lock(mutex);
  watching_ = watching;
  Announce();
}

// What has been taken is remembered as long as there is room.
void KeptWatch::Forget() {
  uint64_t needed = first_ + events_.size();
  for (const Viewer& one : viewers_) needed = std::min(needed, one.after + 1);
  while ((events_.size() > kMaxEvents || bytes_ > kMaxBytes) && first_ < needed) {
    bytes_ -= BytesOf(events_.front());
    events_.pop_front();
    ++first_;
  }
}

void KeptWatch::Add(protocol::FileEvent event) {
  std::lock_guard lock(mutex);
  bytes_ += BytesOf(event);
  events_.push_back(std::move(event));
  Forget();
  Announce();
}

void KeptWatch::End(std::optional<Error> failure) {
  std::lock_guard lock(mutex);
  if (over_) return;
  over_ = true;
  failure_ = std::move(failure);
  Announce();
}

bool KeptWatch::IsFull() {
  std::lock_guard lock(mutex);
  Forget();
  return events_.size() > kMaxEvents || bytes_ > kMaxBytes;
}

std::optional<KeptWatch::Clock::time_point> KeptWatch::LeftAt() {
  std::lock_guard lock(mutex);
  if (!viewers_.empty()) return std::nullopt;
  return left_at_;
}

void KeptWatch::GiveUp() {
  std::lock_guard lock(mutex);
  given_up_ = true;
  Announce();
  Wake();
}

bool KeptWatch::given_up() {
  std::lock_guard lock(mutex);
  return given_up_;
}

}  // namespace atl::agent
