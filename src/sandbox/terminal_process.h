// SPDX-License-Identifier: Apache-2.0
// A command on a terminal of its own: what it prints is one stream, and what it is sent is typed.
#pragma once

#include <memory>
#include <utility>

#include "sandbox/exec.h"
#include "sandbox/terminal.h"

namespace atl::sandbox {

class TerminalProcess : public Process {
 public:
  TerminalProcess(AgentClient& agent, std::unique_ptr<TerminalView> view)
      : agent_(agent), view_(std::move(view)) {}

  int pid() const override { return view_->pid(); }
  async::Task<Result<ProcessEvent>> Next() override;
  async::Task<Result<void>> WriteStdin(std::string_view data) override;
  // Types ^D.
  async::Task<Result<void>> CloseStdin() override;
  async::Task<Result<void>> Signal(int signo) override;
  async::Task<Result<void>> Resize(TerminalSize size);
  // Whether output was lost, for this was too slow to take it.
  bool lost() const { return lost_; }

 private:
  AgentClient& agent_;
  std::unique_ptr<TerminalView> view_;
  bool lost_ = false;
};

// As StartConversation. It is among the terminals of the sandbox, by a name of its own, and is hung
// up when this is destroyed, unless the request keeps it, and when its time is over. Not in a
// session. AGENT_TOO_OLD.
async::Task<Result<std::unique_ptr<TerminalProcess>>> StartOnTerminal(AgentClient& agent,
                                                                      ExecRequest request,
                                                                      TerminalSize size);

}  // namespace atl::sandbox
