// SPDX-License-Identifier: Apache-2.0
// A run of code whose output is told as it comes, whatever words a dialect has for that.
#pragma once

#include <string>

#include "api/seed/actions.h"
#include "api/seed/send_queue.h"
#include "async/task.h"
#include "base/result.h"
#include "sandbox/interpreter.h"

namespace atl::api {

struct CodeRun {
  std::string context;  // empty: the default one of the language
  sandbox::CodeLanguage language = sandbox::CodeLanguage::kPython;
  sandbox::CodeRequest request;
};

// Makes sure that there is a context in `run`: what is not there is no stream.
async::Task<Result<void>> FindContext(const Services& services, sandbox::AgentClient& agent,
                                      CodeRun& run);

// How a run is told: JSON texts, one for each event; an empty one is none.
class CodeEvents {
 public:
  virtual ~CodeEvents() = default;
  virtual std::string Of(sandbox::CodeOutput output) = 0;
  // The last, if it came to an end.
  virtual std::string End(const CodeRun& run, const Result<sandbox::CodeOutcome>& outcome) = 0;
};

// Runs it, and sends what it says until it ends or nobody takes it.
async::Task<> StreamCode(sandbox::AgentClient& agent, CodeRun& run, CodeEvents& events,
                         SendQueue& queue);

}  // namespace atl::api
