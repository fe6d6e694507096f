// SPDX-License-Identifier: Apache-2.0
#include "agent/pending_events.h"

#include <utility>

namespace atl::agent {
namespace {

using protocol::FileEventKind;

// Does an event of kind `next` say nothing that one of kind `last` has not said?
bool IsKnown(FileEventKind last, FileEventKind next) {
  if (last == next) return true;
  bool is_new = last == FileEventKind::kCreate || last == FileEventKind::kMoveTo;
  return is_new && (next == FileEventKind::kCreate || next == FileEventKind::kAttrib ||
                    (last == FileEventKind::kCreate && next == FileEventKind::kModify));
}

}  // namespace

void PendingEvents::Add(protocol::FileEvent event) {
  // A path is here twice; what else an event takes is no more than this.
  size_t bytes = (2 * event.path.size()) + 256;
  if (bytes_ + bytes > kMaxBytes) {
    if (overflowed_) return;
    overflowed_ = true;
    event = protocol::FileEvent{.kind = FileEventKind::kOverflow};
  }
  auto last = last_.find(event.path);
  if (last != last_.end()) {
    FileEventKind kind = events_[last->second].kind;
    if (IsKnown(kind, event.kind)) return;
    if (kind == FileEventKind::kCreate && event.kind == FileEventKind::kDelete) {
      dropped_[last->second] = true;
      --count_;
      last_.erase(last);
      if (count_ == 0) *this = PendingEvents();
      return;
    }
  }
  bytes_ += bytes;
  last_[event.path] = events_.size();
  events_.push_back(std::move(event));
  dropped_.push_back(false);
  ++count_;
}

std::vector<protocol::FileEvent> PendingEvents::Take() {
  std::vector<protocol::FileEvent> taken;
  taken.reserve(count_);
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!dropped_[i]) taken.push_back(std::move(events_[i]));
  }
  *this = PendingEvents();
  return taken;
}

}  // namespace atl::agent
