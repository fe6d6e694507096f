// SPDX-License-Identifier: Apache-2.0
// The time limit, against a program that ends when the test says so.
#include "sandbox/run.h"

#include <gtest/gtest.h>

#include <csignal>
#include <future>

#include "async/runtime.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

struct FakeProcess : Process {
  int pid() const override { return 2; }
  async::Task<Result<ProcessEvent>> Next() override {
    if (pieces > 0) {
      --pieces;
      co_return ProcessEvent{.kind = ProcessEvent::Kind::kStdout, .data = "data"};
    }
    while (running) co_await async::Sleep(milliseconds(1));
    co_return ProcessEvent{.kind = ProcessEvent::Kind::kExited, .exit_code = 3};
  }
  async::Task<Result<void>> WriteStdin(std::string_view) override { co_return Result<void>(); }
  async::Task<Result<void>> CloseStdin() override { co_return Result<void>(); }
  async::Task<Result<void>> Signal(int) override {
    if (!running) co_return Fail(Code::kNotFound, "it has ended", "PROCESS_NOT_FOUND");
    running = false;
    // The exit is known long before the answer.
    co_await async::Sleep(milliseconds(100));
    co_return Result<void>();
  }
  int pieces = 1;
  bool running = false;
};

struct SlowSink : OutputSink {
  async::Task<Result<void>> Take(ProcessEvent::Kind, std::string_view) override {
    co_await async::Sleep(milliseconds(300));
    co_return Result<void>();
  }
};

class RunTest : public testing::Test {
 protected:
  Result<RunOutcome> Follow(FakeProcess& process, milliseconds timeout) {
    std::promise<Result<RunOutcome>> ended;
    auto result = ended.get_future();
    async::Spawn(runtime_.shard(1), Fulfil(process, timeout, ended), "a test");
    return result.get();
  }
  static async::Task<> Fulfil(FakeProcess& process, milliseconds timeout,
                              std::promise<Result<RunOutcome>>& ended) {
    SlowSink sink;
    Result<RunOutcome> outcome = co_await FollowRun(process, timeout, sink);
    ended.set_value(std::move(outcome));
  }
  async::Runtime runtime_{2, 1};
};

TEST_F(RunTest, ACommandThatEndedInTimeHasNotTimedOutHoweverSlowItsReader) {
  FakeProcess process;
  auto outcome = Follow(process, milliseconds(50));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->exit_code, 3);
  EXPECT_FALSE(outcome->timed_out);
}

TEST_F(RunTest, ACommandThatWasSignalledHasTimedOut) {
  FakeProcess process;
  process.running = true;
  process.pieces = 0;
  auto outcome = Follow(process, milliseconds(50));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->exit_code, kTimeoutExitCode);
  EXPECT_TRUE(outcome->timed_out);
}

}  // namespace
}  // namespace atl::sandbox
