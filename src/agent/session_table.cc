// SPDX-License-Identifier: Apache-2.0
#include "agent/session_table.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "agent/session.h"
#include "agent/session_command.h"
#include "agent/spawn_session.h"
#include "agent/user.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr size_t kMaxSessions = 256;
constexpr size_t kMaxId = 128;
constexpr size_t kMaxCommand = 128U << 10U;

uint64_t UnixMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

Result<void> CheckId(const std::string& id) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (!id.empty() && id.size() <= kMaxId && std::ranges::all_of(id, fits)) return {};
  return Fail(Code::kInvalidArgument,
              "the id of a session is 1 to 128 letters, digits, '.', '_' and '-'",
              "VALIDATION_FAILED");
}

bool IsName(std::string_view name) {
  auto begins = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; };
  return !name.empty() && begins(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return begins(c) || (c >= '0' && c <= '9'); });
}

// It becomes text that a shell reads.
Result<void> CheckCommand(const protocol::SessionExec& request) {
  auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  bool bad = request.command.empty() || request.command.size() > kMaxCommand ||
             has_nul(request.command) || has_nul(request.cwd);
  for (const auto& [name, value] : request.env) bad |= !IsName(name) || has_nul(value);
  if (!bad) return {};
  return Fail(Code::kInvalidArgument, "a command, directory or variable that bash cannot take",
              "VALIDATION_FAILED");
}

protocol::SessionInfo InfoOf(const Session& session) {
  protocol::SessionInfo info = session.info;
  info.pid = session.shell->pid();
  info.commands = session.commands;
  info.busy = session.busy;
  return info;
}

Unexpected NoSession(const std::string& id) {
  return Fail(Code::kNotFound, "there is no session " + id.substr(0, kMaxId), "SESSION_NOT_FOUND");
}

template <class M>
Result<void> Answer(Outbox* outbox, const M& message) {
  TRY(outbox->Put(message));
  return outbox->FlushAll();
}

}  // namespace

SessionTable::Idle SessionTable::TakeIdleLocked(const Look& look) {
  std::vector<std::shared_ptr<Session>> by_use;
  for (const auto& [id, session] : all_) {
    if (session && session->by_use) by_use.push_back(session);
  }
  std::ranges::sort(by_use, {}, [](const auto& session) { return session->idle_since.load(); });
  for (std::shared_ptr<Session>& session : by_use) {
    std::unique_lock turn(session->turn, std::try_to_lock);
    if (!turn || session->idle_since.load() >= look.at) continue;
    if (session->shell->HasOthers(look.sessions)) continue;
    session->made_room = true;
    session->closed = true;
    all_.erase(session->info.id);
    return {.session = std::move(session), .turn = std::move(turn)};
  }
  return {};
}

Result<SessionTable::Idle> SessionTable::Reserve(const std::string& id) {
  std::optional<Look> look;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (all_.contains(id)) {
        return Fail(Code::kAlreadyExists, "the session " + id + " is open",
                    "SESSION_ALREADY_EXISTS");
      }
      bool full = all_.size() >= kMaxSessions;
      Idle idle;
      if (full && look) {
        idle = TakeIdleLocked(*look);
        if (!idle.session) {
          return Fail(Code::kResourceExhausted,
                      "256 sessions are open, and none of them may be closed for another one",
                      "TOO_MANY_SESSIONS");
        }
      }
      if (!full || idle.session) {
        all_.emplace(id, nullptr);
        return idle;
      }
    }
    // Commands of other sessions do not wait until that is read.
    look.emplace(Session::Clock::now());
    look->sessions = Processes::SessionsWithOthers();
  }
}

Result<protocol::SessionInfo> SessionTable::Open(const protocol::SessionOpen& request,
                                                 bool by_use) {
  TRY(CheckId(request.id));
  ASSIGN(Program program,
         ToProgram(protocol::Exec{
             .argv = {"bash"}, .env = request.env, .cwd = request.cwd, .user = request.user}));
  ASSIGN(Idle idle, Reserve(request.id));
  if (idle.session) {
    idle.session->shell->EndAll();
    idle.turn.unlock();
  }
  auto shell = Shell::Make(processes_, std::move(program));
  std::lock_guard lock(mutex_);
  if (!shell) {
    all_.erase(request.id);
    return Unexpected(std::move(shell).error());
  }
  protocol::SessionInfo info{
      .id = request.id, .user = request.user, .cwd = request.cwd, .created_ms = UnixMs()};
  auto session = std::make_shared<Session>(info, request.timeout_ms, by_use, *std::move(shell));
  all_[request.id] = session;
  return InfoOf(*session);
}

Result<std::shared_ptr<Session>> SessionTable::Find(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto found = all_.find(id);
  if (found != all_.end() && found->second) return found->second;
  return NoSession(id);
}

Result<void> SessionTable::Exec(const protocol::SessionExec& request, int socket, Outbox* outbox) {
  TRY(CheckCommand(request));
  ASSIGN(auto session, Find(request.id));
  std::lock_guard turn(session->turn);
  // Whoever uses it again opens it again.
  if (session->made_room) return NoSession(request.id);
  if (session->closed) {
    return Fail(Code::kGone, "the session was closed", "SESSION_DESTROYED");
  }
  session->busy = true;
  ++session->commands;
  Result<void> done = SessionCommand(session.get(), &drain_, socket, outbox).Run(request);
  session->busy = false;
  session->idle_since = Session::Clock::now();
  return done;
}

Result<void> SessionTable::Close(const std::string& id) {
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(mutex_);
    auto found = all_.find(id);
    if (found == all_.end() || !found->second) return NoSession(id);
    session = std::move(found->second);
    all_.erase(found);
  }
  session->closed = true;
  eventfd_write(session->closing.get(), 1);
  std::lock_guard turn(session->turn);
  session->shell->EndAll();
  return {};
}

Result<void> SessionTable::List(Outbox* outbox) {
  std::map<std::string, std::shared_ptr<Session>> all;
  {
    std::lock_guard lock(mutex_);
    all = all_;
  }
  for (const auto& [id, session] : all) {
    if (session) TRY(Answer(outbox, InfoOf(*session)));
  }
  return Answer(outbox, protocol::Ok{});
}

Result<void> RunSessionRequest(SessionTable* table, const protocol::Frame& frame, int socket,
                               Outbox* outbox) {
  switch (frame.type) {
    case FrameType::kSessionOpen: {
      ASSIGN(auto request, protocol::Decode<protocol::SessionOpen>(frame.payload));
      ASSIGN(auto info, table->Open(request, false));
      return Answer(outbox, info);
    }
    case FrameType::kSessionUse: {
      ASSIGN(auto request, protocol::Decode<protocol::SessionUse>(frame.payload));
      ASSIGN(auto info, table->Open(request.session, true));
      return Answer(outbox, info);
    }
    case FrameType::kSessionExec: {
      ASSIGN(auto request, protocol::Decode<protocol::SessionExec>(frame.payload));
      return table->Exec(request, socket, outbox);
    }
    case FrameType::kSessionClose: {
      ASSIGN(auto request, protocol::Decode<protocol::SessionClose>(frame.payload));
      TRY(table->Close(request.id));
      return Answer(outbox, protocol::Ok{});
    }
    default: {
      TRY(protocol::Decode<protocol::SessionList>(frame.payload));
      return table->List(outbox);
    }
  }
}

}  // namespace atl::agent
