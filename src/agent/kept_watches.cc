// SPDX-License-Identifier: Apache-2.0
#include "agent/kept_watches.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "agent/file_requests.h"
#include "agent/file_watch.h"
#include "agent/kept_watch.h"
#include "agent/thread.h"
#include "protocol/connection.h"

namespace atl::agent {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMinId = 16;
constexpr size_t kMaxId = 64;
// To see one end: its process is killed, and whoever waits for it says so.
constexpr milliseconds kEndLimit{5'000};

Unexpected NotFound() {
  return Fail(Code::kNotFound, "the watch has ended, or it was another one", "WATCH_NOT_FOUND");
}

Result<void> CheckId(const std::string& id) {
  bool digits = id.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (digits && id.size() >= kMinId && id.size() <= kMaxId) return {};
  return Fail(Code::kInvalidArgument, "the id of a watch is 16 to 64 of [0-9a-f]");
}

Result<void> AddEvents(KeptWatch* watch, std::string_view payload) {
  protocol::Reader reader(payload);
  while (reader.ok() && !reader.rest().empty()) {
    protocol::FileEvent event;
    reader(event);
    if (reader.ok()) watch->Add(std::move(event));
  }
  return reader.Finish();
}

enum class Heard { kNothing, kFrame, kEnd };

// Of what was received already.
Result<Heard> TakeNext(KeptWatch* watch, protocol::FrameReader* reader) {
  ASSIGN(auto frame, reader->Buffered());
  if (!frame) return Heard::kNothing;
  if (frame->type == protocol::FrameType::kFileEvents) {
    TRY(AddEvents(watch, frame->payload));
    return Heard::kFrame;
  }
  if (frame->type == protocol::FrameType::kWatching) {
    ASSIGN(auto watching, protocol::Decode<protocol::Watching>(frame->payload));
    watch->Begun(watching);
    return Heard::kFrame;
  }
  TRY(protocol::Expect<protocol::End>(*frame));
  return Heard::kEnd;
}

}  // namespace

// Until it has ended and is forgotten, or is given up.
void KeptWatches::Feed(KeptWatch* watch, int socket) const {
  protocol::FrameReader reader(socket);
  bool on = true;
  while (!watch->given_up()) {
    if (on && !watch->IsFull()) {
      Result<Heard> heard = TakeNext(watch, &reader);
      on = heard && *heard != Heard::kEnd;
      if (!on) watch->End(heard ? std::nullopt : std::optional<Error>(heard.error()));
      if (!on || *heard == Heard::kFrame) continue;
    }
    int wait = -1;
    if (auto left = watch->LeftAt()) {
      auto rest = std::chrono::ceil<milliseconds>(*left + lifetime_ - KeptWatch::Clock::now());
      if (rest.count() <= 0) break;
      wait = static_cast<int>(rest.count());
    }
    std::array<pollfd, 2> fds{{
        {.fd = watch->wake_fd(), .events = POLLIN, .revents = 0},
        {.fd = on && !watch->IsFull() ? socket : -1, .events = POLLIN, .revents = 0},
    }};
    poll(fds.data(), fds.size(), wait);
    if (fds[0].revents != 0) watch->ClearWake();
    if (fds[1].revents == 0) continue;
    auto filled = reader.Fill();
    if (filled && *filled) continue;
    watch->End(Error{.code = Code::kUnavailable, .message = "the watch has ended"});
    on = false;
  }
  watch->GiveUp();
  watch->End(Error{.code = Code::kUnavailable, .message = "the watch was ended"});
}

void KeptWatches::Forget(const std::string& id) {
  std::lock_guard lock(mutex_);
  all_.erase(id);
  ended_.notify_all();
}

Result<void> KeptWatches::Start(const WatchPtr& watch, const protocol::KeepWatch& request) {
  ASSIGN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
  auto served = std::make_shared<sys::Fd>(std::move(pair.first));
  auto own = std::make_shared<sys::Fd>(std::move(pair.second));
  ASSIGN(std::string encoded, protocol::Encode(request.what));
  // Only when both have ended there is room for another.
  auto end = std::shared_ptr<void>(nullptr, [this, id = request.id](void*) { Forget(id); });
  TRY(StartThread([this, served, end, encoded = std::move(encoded)] {
    protocol::FrameParser parser;
    parser.Feed(encoded);
    auto frame = parser.Next();
    Result<void> done;
    if (frame && *frame) {
      protocol::FrameParser rest;
      done = DispatchFileRequest(**frame, served->get(), &rest, processes_);
    }
    if (!done) (void)protocol::Send(served->get(), protocol::ToFailure(done.error()));
    served->Reset();
  }));
  return StartThread([this, watch, own, end] {
    Feed(watch.get(), own->get());
    own->Reset();
  });
}

Result<KeptWatches::WatchPtr> KeptWatches::Open(const protocol::KeepWatch& request,
                                                uint64_t* viewer) {
  TRY(CheckId(request.id));
  WatchPtr watch;
  {
    std::lock_guard lock(mutex_);
    auto found = all_.find(request.id);
    if (request.resume) {
      if (found == all_.end() || !found->second->Join(request, viewer)) return NotFound();
      return found->second;
    }
    if (found != all_.end() || request.after != 0) {
      return Fail(Code::kAlreadyExists, "there is a watch with this id");
    }
  }
  MakeRoom();
  watch = std::make_shared<KeptWatch>(request);
  watch->Join(request, viewer);
  {
    std::lock_guard lock(mutex_);
    if (!all_.emplace(request.id, watch).second) {
      return Fail(Code::kAlreadyExists, "there is a watch with this id");
    }
  }
  Result<void> started = Start(watch, request);
  if (!started) return Unexpected(std::move(started).error());
  return watch;
}

void KeptWatches::MakeRoom() {
  std::unique_lock lock(mutex_);
  while (!WatchPlace::IsThere()) {
    WatchPtr oldest;
    std::optional<KeptWatch::Clock::time_point> since;
    for (const auto& [id, watch] : all_) {
      auto left = watch->LeftAt();
      if (!left || watch->given_up() || (since && *since <= *left)) continue;
      oldest = watch;
      since = left;
    }
    if (!oldest) return;
    oldest->GiveUp();
    size_t before = all_.size();
    ended_.wait_for(lock, kEndLimit, [&] { return all_.size() < before; });
  }
}

void KeptWatches::EndAll() {
  std::unique_lock lock(mutex_);
  for (const auto& [id, watch] : all_) watch->GiveUp();
  ended_.wait_for(lock, kEndLimit, [&] { return all_.empty(); });
}

Result<void> KeptWatches::Run(const protocol::KeepWatch& request, int socket, Outbox* outbox) {
  uint64_t viewer = 0;
  ASSIGN(WatchPtr watch, Open(request, &viewer));
  struct Leave {
    KeptWatch* watch;
    uint64_t viewer;
    ~Leave() { watch->Leave(viewer); }
  } leave{.watch = watch.get(), .viewer = viewer};
  Watch<KeptWatch> changes(watch.get());
  bool told = false;
  while (true) {
    changes.Clear();
    KeptWatch::Piece piece = watch->Take(viewer);
    if (piece.watching) {
      told = true;
      TRY(outbox->Put(protocol::WatchKept{.watching = *piece.watching}));
    } else if (!piece.events.empty()) {
      TRY(outbox->PutFrame(protocol::EncodeFrame(protocol::FrameType::kKeptEvents, piece.events)));
    } else if (piece.over) {
      // One that never began is not there for anybody.
      if (!told) watch->GiveUp();
      if (piece.failure) return Unexpected(*std::move(piece.failure));
      TRY(outbox->Put(protocol::End{}));
      return outbox->FlushAll();
    } else {
      std::array<pollfd, 2> fds{{
          {.fd = socket, .events = POLLIN, .revents = 0},
          {.fd = changes.fd(), .events = POLLIN, .revents = 0},
      }};
      poll(fds.data(), fds.size(), -1);
      // It has nothing to say: it leaves.
      if (fds[0].revents != 0) return {};
      continue;
    }
    TRY(outbox->FlushAll());
  }
}

}  // namespace atl::agent
