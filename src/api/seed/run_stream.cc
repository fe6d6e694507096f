// SPDX-License-Identifier: Apache-2.0
#include "api/seed/run_stream.h"

#include <string>
#include <utility>

#include "api/seed/output_events.h"
#include "api/seed/send_queue.h"
#include "http/sse.h"

namespace atl::api {
namespace {

// Between the command's output and the client.
class Outbox : public sandbox::OutputSink {
 public:
  explicit Outbox(http::Exchange& exchange) : queue(exchange) {}

  OutputEvents events;
  SendQueue queue;

  async::Task<Result<void>> Take(sandbox::ProcessEvent::Kind kind, std::string_view data) override {
    events.Output(kind, data, queue.pending());
    return queue.Put();
  }
};

async::Task<> Follow(sandbox::Process& process, std::optional<std::chrono::milliseconds> timeout,
                     Outbox& outbox) {
  Result<sandbox::RunOutcome> outcome = co_await sandbox::FollowRun(process, timeout, outbox);
  if (outcome) {
    outbox.events.Complete(*outcome, outbox.queue.pending());
  } else {
    outbox.events.Failure(outcome.error(), outbox.queue.pending());
  }
  outbox.queue.Close();
}

async::Task<> FollowAndSend(sandbox::Process& process,
                            std::optional<std::chrono::milliseconds> timeout, Outbox& outbox) {
  co_await async::Both(Follow(process, timeout, outbox), outbox.queue.Send());
}

// Is this the request's fault? Then it is worth a status of its own.
bool IsClientError(const Error& error) {
  int status = HttpStatus(error.code);
  return status >= 400 && status < 500;
}

}  // namespace

async::Task<> StreamRun(http::Exchange& exchange, std::shared_ptr<sandbox::Sandbox> sandbox,
                        sandbox::RunRequest request) {
  std::string command = request.command;
  std::optional<std::chrono::milliseconds> timeout = request.timeout;
  Result<std::unique_ptr<sandbox::Process>> process =
      co_await sandbox::StartRun(sandbox->agent(), std::move(request));
  if (!process && IsClientError(process.error())) {
    co_await http::RespondError(exchange, std::move(process).error());
    co_return;
  }
  http::ResponseHead head = http::EventStreamHead();
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (!begun) {
    exchange.Abort();
    co_return;
  }
  Outbox outbox(exchange);
  outbox.events.Start(command, outbox.queue.pending());
  if (!process) {
    outbox.events.Failure(process.error(), outbox.queue.pending());
    outbox.queue.Close();
    co_await outbox.queue.Send();
  } else {
    co_await async::Race(FollowAndSend(**process, timeout, outbox), exchange.WaitForHangup());
    process->reset();  // ends what the command has left running
  }
  co_await FinishStream(exchange, outbox.queue.complete());
}

}  // namespace atl::api
