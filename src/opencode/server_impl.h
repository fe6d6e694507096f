// SPDX-License-Identifier: Apache-2.0
// What the files of Servers share: server.cc (what callers see), serving.cc (one server from its
// start to its end, and again).
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "async/mutex.h"
#include "opencode/server.h"

namespace atl::opencode {

using Clock = std::chrono::steady_clock;

// The server of one sandbox. All but `iid` is guarded by Impl::mutex.
struct Server {
  explicit Server(std::string of) : iid(std::move(of)) {}

  const std::string iid;  // of the sandbox, whose id may change
  std::string id;         // what the sandbox is called now
  uint64_t number = 0;    // of this start: a task that is no longer the current one changes nothing
  Status status = Status::kStopped;
  bool was_ready = false;  // somebody wants it, and it can run: it is started again when it ends
  std::optional<Error> failure;
  std::shared_ptr<async::Event> settled;  // kStarting is over
  int failures = 0;                       // in a row
  Clock::time_point retry_at;
  Clock::time_point ready_since;
  int suspensions = 0;
  bool resume = false;     // it ran when it was suspended
  sandbox::Waited waited;  // for the sandbox, at this start
};
using ServerPtr = std::shared_ptr<Server>;

struct Servers::Impl {
  Impl(async::Runtime& on, sandbox::Registry& of, Options with)
      : runtime(on), registry(of), options(std::move(with)) {}

  async::Runtime& runtime;
  sandbox::Registry& registry;
  const Options options;
  mutable std::mutex mutex;
  std::map<std::string, ServerPtr, std::less<>> servers;  // by iid
  uint64_t last_number = 0;
  std::atomic<bool> retired = false;
  std::atomic<size_t> boots = 0;  // of OpenCode, in sandboxes that run

  // Of the sandbox that has this id now; null when there is none, or nothing is known of it.
  ServerPtr Find(std::string_view id) const;
  // The same, made where nothing is known.
  ServerPtr Obtain(std::string_view id);
  // Whether the sandbox runs, as far as this daemon knows: is neither asleep nor stopped nor gone.
  bool Runs(const ServerPtr& server) const;
  std::string IdOf(const ServerPtr& server) const;
  bool IsSuspended(const ServerPtr& server) const;
  // Nothing that is under way counts any more. With the mutex held.
  static void Reset(Server& server);
  // Changes the server if start `number` is the current one.
  template <class Change>
  bool Update(const ServerPtr& server, uint64_t number, Change change) {
    std::lock_guard lock(mutex);
    if (server->number != number) return false;
    change(*server);
    return true;
  }

  // serving.cc. Returns the event that is set when the start under way is over; null when the
  // server is ready.
  static std::shared_ptr<async::Event> Begin(const std::shared_ptr<Impl>& self,
                                             const ServerPtr& server);
  static async::Task<> Serve(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number,
                             std::chrono::milliseconds pause);
  // The server is ready already, which somebody else has seen to.
  static void Take(const std::shared_ptr<Impl>& self, const ServerPtr& server);
  static async::Task<> FollowTaken(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number);
  // From ready to its end.
  static async::Task<> Follow(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number);
  static async::Task<> StartAgain(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number);
  static async::Task<> NoteFailure(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number,
                                   Error error);
  void NoteReady(const ServerPtr& server, uint64_t number);
  void NoteStop(const ServerPtr& server, uint64_t number);
  static async::Task<> NoteEnd(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number,
                               std::string why);
  // Into the events of its sandbox.
  static async::Task<> Tell(std::shared_ptr<Impl> self, ServerPtr server, std::string what);
};

}  // namespace atl::opencode
