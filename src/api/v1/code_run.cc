// SPDX-License-Identifier: Apache-2.0
#include "api/v1/code_run.h"

#include <utility>

#include "http/sse.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

class Sink : public sandbox::CodeSink {
 public:
  Sink(CodeEvents& events, SendQueue& queue) : events_(events), queue_(queue) {}

  async::Task<Result<void>> Take(sandbox::CodeOutput output) override {
    std::string json = events_.Of(std::move(output));
    if (!json.empty()) queue_.pending() += http::EventText(json);
    return queue_.Put();
  }

 private:
  CodeEvents& events_;
  SendQueue& queue_;
};

async::Task<> RunInto(sandbox::AgentClient& agent, CodeRun& run, CodeEvents& events,
                      SendQueue& queue) {
  Sink sink(events, queue);
  auto outcome = co_await sandbox::RunCode(agent, run.context, std::move(run.request), sink);
  if (!outcome) metrics::CountError(ReasonOf(outcome.error()));
  queue.pending() += http::EventText(events.End(run, outcome));
  queue.Close();
}

}  // namespace

async::Task<Result<void>> FindContext(const Services& services, sandbox::AgentClient& agent,
                                      CodeRun& run) {
  if (!run.context.empty()) {
    CO_TRY(co_await sandbox::GetContext(agent, run.context));
    co_return Result<void>();
  }
  CO_ASSIGN(auto context,
            co_await sandbox::DefaultContext(agent, services.registry.blocking(), run.language));
  run.context = std::move(context.id);
  co_return Result<void>();
}

async::Task<> StreamCode(sandbox::AgentClient& agent, CodeRun& run, CodeEvents& events,
                         SendQueue& queue) {
  co_await async::Both(RunInto(agent, run, events, queue), queue.Send());
}

}  // namespace atl::api
