// SPDX-License-Identifier: Apache-2.0
#include "agent/terminals.h"

#include <algorithm>
#include <utility>

namespace atl::agent {
namespace {

constexpr size_t kMaxRunning = 256;
// How many are kept whose program has ended, for those who come back to see how.
constexpr size_t kMaxEnded = 16;
// Connections are needed for other things, too.
constexpr size_t kMaxViews = 320;
constexpr size_t kMaxNameBytes = 128;

}  // namespace

TerminalView::TerminalView(Terminals* terminals, std::shared_ptr<Terminal> terminal,
                           Terminal::Viewer* viewer, bool created)
    : terminals_(terminals), terminal_(std::move(terminal)), viewer_(viewer), created_(created) {}

TerminalView::TerminalView(TerminalView&& other) noexcept
    : terminals_(other.terminals_),
      terminal_(std::move(other.terminal_)),
      viewer_(std::exchange(other.viewer_, nullptr)),
      created_(other.created_) {}

TerminalView::~TerminalView() {
  if (viewer_ == nullptr) return;
  terminal_->Leave(viewer_);
  terminals_->CountOut();
}

void Terminals::CountOut() {
  std::lock_guard lock(mutex_);
  --views_;
  ForgetEnded();
}

// Under the mutex. How many have ended and are kept.
size_t Terminals::ForgetEnded() {
  auto ended = [](const std::shared_ptr<Terminal>& one) { return one->ended(); };
  auto count = static_cast<size_t>(std::ranges::count_if(all_, ended));
  for (; count > kMaxEnded; --count) all_.erase(std::ranges::find_if(all_, ended));
  return count;
}

// Under the mutex.
Result<void> Terminals::MakeRoom() {
  size_t ended = ForgetEnded();
  if (all_.size() - ended + starting_.size() < kMaxRunning) return {};
  return Fail(Code::kResourceExhausted, "the sandbox has too many terminals", "TOO_MANY_TERMINALS");
}

Result<std::shared_ptr<Terminal>> Terminals::FindOrStart(const protocol::OpenUserTerminal& asked,
                                                         bool* created) {
  const protocol::OpenTerminal& request = asked.terminal;
  std::unique_lock lock(mutex_);
  started_.wait(lock, [&] { return !starting_.contains(request.name); });
  auto found = std::ranges::find(all_, request.name, &Terminal::name);
  if (found != all_.end() && (!request.create || !(*found)->ended())) return *found;
  if (!request.create) {
    return Fail(Code::kNotFound, "there is no terminal named " + request.name,
                "TERMINAL_NOT_FOUND");
  }
  if (request.argv.empty()) return Fail(Code::kInvalidArgument, "there is no command");
  if (found != all_.end()) all_.erase(found);
  TRY(MakeRoom());
  starting_.insert(request.name);
  lock.unlock();
  auto terminal = Terminal::Start(processes_, asked);
  lock.lock();
  starting_.erase(request.name);
  started_.notify_all();
  if (!terminal) return terminal;
  all_.push_back(*terminal);
  *created = true;
  return terminal;
}

Result<TerminalView> Terminals::Open(const protocol::OpenUserTerminal& asked) {
  const protocol::OpenTerminal& request = asked.terminal;
  if (request.name.empty() || request.name.size() > kMaxNameBytes) {
    return Fail(Code::kInvalidArgument, "a terminal needs a name of 1 to 128 characters");
  }
  {
    std::lock_guard lock(mutex_);
    if (views_ >= kMaxViews) {
      return Fail(Code::kResourceExhausted, "too many clients look at terminals",
                  "TOO_MANY_TERMINALS");
    }
    ++views_;
  }
  bool created = false;
  auto terminal = FindOrStart(asked, &created);
  Terminal::Viewer* viewer = nullptr;
  Result<void> joined;
  if (!terminal) {
    joined = Unexpected(terminal.error());
  } else {
    // The size of one that has ended is nobody's concern.
    if (!created && !(*terminal)->ended()) {
      joined = (*terminal)->Resize(request.cols, request.rows);
    }
    if (joined) {
      auto one = (*terminal)->Join(request.offset);
      if (one) viewer = *one;
      if (!one) joined = Unexpected(std::move(one).error());
    }
  }
  if (!joined) {
    CountOut();
    return Unexpected(std::move(joined).error());
  }
  return TerminalView(this, *std::move(terminal), viewer, created);
}

protocol::Terminals Terminals::List() {
  protocol::Terminals list;
  std::lock_guard lock(mutex_);
  for (const auto& terminal : all_) list.terminals.push_back(terminal->Describe());
  return list;
}

Result<std::shared_ptr<Terminal>> Terminals::Find(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto found = std::ranges::find(all_, name, &Terminal::name);
  if (found != all_.end()) return *found;
  return Fail(Code::kNotFound, "there is no terminal named " + name, "TERMINAL_NOT_FOUND");
}

Result<void> Terminals::Close(const std::string& name) {
  ASSIGN(auto terminal, Find(name));
  TRY(terminal->Close());
  std::lock_guard lock(mutex_);
  all_.remove(terminal);
  return {};
}

}  // namespace atl::agent
