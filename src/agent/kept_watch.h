// SPDX-License-Identifier: Apache-2.0
// One watch that outlasts its clients: what has happened, numbered, as far as it is remembered.
#pragma once

#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "agent/watch.h"
#include "protocol/messages.h"
#include "protocol/watch.h"

namespace atl::agent {

class KeptWatch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxEvents = 8192;
  static constexpr size_t kMaxBytes = 1U << 20U;

  explicit KeptWatch(protocol::KeepWatch request)
      : request_(std::move(request)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  // Readable when a client has come, gone or taken something, or it is to end.
  int wake_fd() const { return wake_.get(); }
  void ClearWake() const;

  // A client that knows everything up to a number. False: that is none of ours, or what it asks for
  // is something else.
  bool Join(const protocol::KeepWatch& request, uint64_t* viewer);
  void Leave(uint64_t viewer);
  // What a client is told next.
  struct Piece {
    std::optional<protocol::Watching> watching;  // only until it has been told
    std::string events;                          // the payload of a frame
    bool over = false;                           // nothing more comes
    std::optional<Error> failure;                // why; nothing: what was watched is gone
  };
  Piece Take(uint64_t viewer);

  // Of whoever feeds it.
  void Begun(protocol::Watching watching);
  void Add(protocol::FileEvent event);
  void End(std::optional<Error> failure);
  // Clients have not taken what there is: more would be forgotten before they do.
  bool IsFull();
  // Since when it has had no client. Nothing: it has one.
  std::optional<Clock::time_point> LeftAt();
  void GiveUp();
  bool given_up();

 private:
  friend class Watch<KeptWatch>;
  struct Viewer {
    uint64_t id = 0;
    uint64_t after = 0;
    bool told = false;  // that it is watched
  };
  Viewer* Find(uint64_t id);
  void Forget();
  void Announce();
  void Wake() const { eventfd_write(wake_.get(), 1); }

  const protocol::KeepWatch request_;
  sys::Fd wake_;

  std::mutex mutex;
  std::set<int> watchers;
  std::optional<protocol::Watching> watching_;
  bool over_ = false;
  std::optional<Error> failure_;
  bool given_up_ = false;
  std::deque<protocol::FileEvent> events_;
  uint64_t first_ = 1;  // the number of the first of them
  size_t bytes_ = 0;
  std::deque<Viewer> viewers_;
  uint64_t next_viewer_ = 1;
  Clock::time_point left_at_ = Clock::now();
};

}  // namespace atl::agent
