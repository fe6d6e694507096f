// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ended_for_memory.h"

#include <csignal>
#include <utility>

#include "base/clock.h"

namespace atl::sandbox {
namespace {

constexpr int kKilledCode = 128 + SIGKILL;
// Who had at least this part of the sandbox's memory had much.
constexpr uint64_t kMuch = 8;
constexpr int64_t kLastMs = 5'000;
// What ends in the same moment has asked by then.
constexpr std::chrono::milliseconds kMoment{150};
// The agent notices an end, and says when, at most so late.
constexpr int64_t kNoticedWithinMs = 1'000;

bool HadMuch(const OomBook& book, const Ended& ended) {
  return ended.max_rss_bytes != 0 && ended.max_rss_bytes >= book.memory_bytes / kMuch;
}

}  // namespace

async::Task<bool> EndedForMemory(const OomBook& book, Ended ended) {
  bool killed = ended.exit_code == kKilledCode;
  bool much = HadMuch(book, ended);
  if (!book.ask || (!killed && !much)) co_return false;
  int64_t now = NowMs();
  OomQuestion question{.who = std::move(ended.who),
                       .from_ms = much ? now - kLastMs : now,
                       .to_ms = now,
                       .claim = much ? OomClaim::kFirm : OomClaim::kLook};
  if (!killed) question.claim = OomClaim::kLikely;
  OomAnswer answer = book.ask(question);
  if (answer == OomAnswer::kUnsure) {
    co_await async::Sleep(kMoment);
    question.claim = OomClaim::kWeak;
    answer = book.ask(question);
  }
  co_return answer == OomAnswer::kYes;
}

bool HadEndedForMemory(const OomBook& book, const Ended& ended, int64_t ended_ms) {
  if (!book.ask || ended.exit_code != kKilledCode) return false;
  bool much = HadMuch(book, ended);
  bool late = NowMs() > ended_ms + kMoment.count();
  OomQuestion question{.who = ended.who,
                       .from_ms = ended_ms - (much ? kLastMs : kNoticedWithinMs),
                       .to_ms = ended_ms,
                       .claim = OomClaim::kLook};
  if (late) question.claim = OomClaim::kWeak;
  if (much) question.claim = OomClaim::kFirm;
  return book.ask(question) == OomAnswer::kYes;
}

}  // namespace atl::sandbox
