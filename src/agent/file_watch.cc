// SPDX-License-Identifier: Apache-2.0
#include "agent/file_watch.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>

#include "agent/file_place.h"
#include "agent/globs.h"
#include "agent/pending_events.h"
#include "agent/watch_tree.h"
#include "protocol/messages.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using Clock = std::chrono::steady_clock;
using protocol::FileInfo;
using protocol::FileKind;

constexpr std::chrono::milliseconds kTogether{75};
constexpr size_t kMostTogether = 1000;
constexpr int kMostWatches = 32;
constexpr size_t kFrameBytes = 64U << 10U;

std::atomic<int> taken;

struct Watched {
  std::string base;  // the directory, without symlinks
  std::string only;  // the one name in it, or ""
};

Result<Watched> FindWatched(const std::string& path) {
  Watched watched;
  ASSIGN(sys::Fd there, OpenPath(path, Follow::kYes));
  ASSIGN(FileInfo info, InfoOf(there.get(), path));
  if (info.kind != FileKind::kDirectory) {
    ASSIGN(Place place, FindPlace(path, Follow::kYes));
    there = std::move(place.dir);
    watched.only = std::move(place.name);
  }
  std::array<char, 4096> base;
  std::string self = "/proc/self/fd/" + std::to_string(there.get());
  ssize_t size = readlink(self.c_str(), base.data(), base.size());
  if (size <= 0 || static_cast<size_t>(size) == base.size()) {
    return sys::FailFile(size < 0 ? errno : ENAMETOOLONG, path);
  }
  watched.base.assign(base.data(), static_cast<size_t>(size));
  return watched;
}

Result<void> SendEvents(PendingEvents* pending, ClientLink* link) {
  std::string frame;
  for (protocol::FileEvent& event : pending->Take()) {
    protocol::Writer writer(std::move(frame));
    writer(event);
    frame = std::move(writer).Take();
    if (frame.size() < kFrameBytes) continue;
    TRY(link->SendData(protocol::FrameType::kFileEvents, frame));
    frame.clear();
  }
  if (frame.empty()) return {};
  return link->SendData(protocol::FrameType::kFileEvents, frame);
}

}  // namespace

bool WatchPlace::IsThere() { return taken < kMostWatches; }

Result<WatchPlace> WatchPlace::Take() {
  WatchPlace place(&taken);
  if (taken.fetch_add(1) < kMostWatches) return place;
  return Fail(Code::kResourceExhausted,
              "there are " + std::to_string(kMostWatches) +
                  " watches in this sandbox already: end one first",
              "TOO_MANY_WATCHES");
}

Result<void> RunWatchFiles(const protocol::WatchFiles& request, ClientLink* link) {
  TRY(CheckGlobs(request.include));
  TRY(CheckGlobs(request.exclude));
  ASSIGN(Watched watched, FindWatched(request.path));
  PendingEvents pending;
  Clock::time_point flush_at;
  WatchTree tree(request, watched.base, watched.only, [&](protocol::FileEvent event) {
    if (pending.empty()) flush_at = Clock::now() + kTogether;
    pending.Add(std::move(event));
  });
  TRY(tree.Start());
  TRY(link->Send(
      protocol::Watching{.directory = watched.only.empty(), .directories = tree.directories()}));
  while (true) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(flush_at - Clock::now());
    if (!pending.empty() && (left.count() <= 0 || pending.size() >= kMostTogether)) {
      TRY(SendEvents(&pending, link));
      tree.ForgetMoved();
      continue;
    }
    // The client's leaving is the agent's to notice: it ends this process.
    pollfd ready{.fd = tree.fd(), .events = POLLIN, .revents = 0};
    int wait = pending.empty() ? -1 : static_cast<int>(left.count());
    if (poll(&ready, 1, wait) <= 0) continue;
    ASSIGN(bool there, tree.Read());
    if (!there) break;
  }
  TRY(SendEvents(&pending, link));
  return link->Send(protocol::End{});
}

}  // namespace atl::agent
