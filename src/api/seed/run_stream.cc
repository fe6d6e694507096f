// SPDX-License-Identifier: Apache-2.0
#include "api/seed/run_stream.h"

#include <string>
#include <utility>

#include "api/seed/output_events.h"
#include "async/mutex.h"
#include "http/sse.h"

namespace atl::api {
namespace {

// When more than this waits for the client, the command waits.
constexpr size_t kMaxPending = 256UL * 1024;

// Between the command's output and the client. While one buffer is being sent the other one fills,
// so pieces that come quickly go out together, and the first one goes out at once. Both ends run
// on one shard.
class Outbox : public sandbox::OutputSink {
 public:
  explicit Outbox(http::Exchange& exchange) : exchange_(exchange) {}

  OutputEvents events;
  // For what `events` appends by hand; tell with Close or Take.
  std::string& pending() { return pending_; }

  async::Task<Result<void>> Take(sandbox::ProcessEvent::Kind kind, std::string_view data) override {
    events.Output(kind, data, pending_);
    if (more_) more_->Set();
    while (pending_.size() > kMaxPending && !failed_) {
      room_ = std::make_shared<async::Event>();
      std::shared_ptr<async::Event> room = room_;
      co_await room->Wait();
    }
    if (failed_) co_return Fail(Code::kCancelled, "the client takes no more output");
    co_return Result<void>();
  }

  void Close() {
    closed_ = true;
    if (more_) more_->Set();
  }

  // Sends until everything is sent and nothing more comes.
  async::Task<> Send() {
    while (!failed_ && !(closed_ && pending_.empty())) {
      if (pending_.empty()) {
        more_ = std::make_shared<async::Event>();
        std::shared_ptr<async::Event> more = more_;
        co_await more->Wait();
        more_.reset();
        continue;
      }
      sending_.clear();
      std::swap(pending_, sending_);
      if (room_) room_->Set();
      Result<void> sent = co_await exchange_.Write(sending_);
      if (!sent) failed_ = true;
    }
    if (room_) room_->Set();
    complete_ = !failed_;
  }

  bool complete() const { return complete_; }

 private:
  http::Exchange& exchange_;
  std::string pending_;
  std::string sending_;
  std::shared_ptr<async::Event> more_;  // the sender waits for something to send
  std::shared_ptr<async::Event> room_;  // the command waits for the client
  bool closed_ = false;
  bool failed_ = false;
  bool complete_ = false;
};

async::Task<> Follow(sandbox::Process& process, std::optional<std::chrono::milliseconds> timeout,
                     Outbox& outbox) {
  Result<sandbox::RunOutcome> outcome = co_await sandbox::FollowRun(process, timeout, outbox);
  if (outcome) {
    outbox.events.Complete(*outcome, outbox.pending());
  } else {
    outbox.events.Failure(outcome.error(), outbox.pending());
  }
  outbox.Close();
}

async::Task<> FollowAndSend(sandbox::Process& process,
                            std::optional<std::chrono::milliseconds> timeout, Outbox& outbox) {
  co_await async::Both(Follow(process, timeout, outbox), outbox.Send());
}

async::Task<> Finish(http::Exchange& exchange, bool complete) {
  if (complete) {
    Result<void> finished = co_await exchange.Finish();
    if (finished) co_return;
  }
  exchange.Abort();
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
  outbox.events.Start(command, outbox.pending());
  if (!process) {
    outbox.events.Failure(process.error(), outbox.pending());
    outbox.Close();
    co_await outbox.Send();
  } else {
    co_await async::Race(FollowAndSend(**process, timeout, outbox), exchange.WaitForHangup());
    process->reset();  // ends what the command has left running
  }
  co_await Finish(exchange, outbox.complete());
}

}  // namespace atl::api
