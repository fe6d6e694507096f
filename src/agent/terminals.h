// SPDX-License-Identifier: Apache-2.0
// The terminals of a sandbox, by name.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "agent/terminal.h"

namespace atl::agent {

class Terminals;

// Somebody looks at a terminal, as long as this lives.
class TerminalView {
 public:
  TerminalView(Terminals* terminals, std::shared_ptr<Terminal> terminal, Terminal::Viewer* viewer,
               bool created);
  ~TerminalView();
  TerminalView(TerminalView&& other) noexcept;
  TerminalView& operator=(TerminalView&&) = delete;

  Terminal& terminal() { return *terminal_; }
  Terminal::Viewer* viewer() { return viewer_; }
  bool created() const { return created_; }

 private:
  Terminals* terminals_;
  std::shared_ptr<Terminal> terminal_;
  Terminal::Viewer* viewer_;
  bool created_;
};

class Terminals {
 public:
  explicit Terminals(Processes* processes) : processes_(processes) {}

  // Joins the terminal of that name or starts it. TERMINAL_NOT_FOUND.
  Result<TerminalView> Open(const protocol::OpenUserTerminal& request);
  protocol::Terminals List();
  // Ends it and forgets it.
  Result<void> Close(const std::string& name);

 private:
  friend class TerminalView;
  Result<std::shared_ptr<Terminal>> FindOrStart(const protocol::OpenUserTerminal& request,
                                                bool* created);
  Result<std::shared_ptr<Terminal>> Find(const std::string& name);
  Result<void> MakeRoom();
  size_t ForgetEnded();
  void CountOut();

  Processes* processes_;
  std::mutex mutex_;
  std::condition_variable started_;
  std::list<std::shared_ptr<Terminal>> all_;  // oldest first
  std::set<std::string> starting_;
  size_t views_ = 0;
};

}  // namespace atl::agent
