// SPDX-License-Identifier: Apache-2.0
#include "snapshot/file_worker.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace atl::snapshot {

using protocol::FileBegin;
using protocol::FileBytes;
using protocol::FileEnd;
using protocol::FileHole;
using protocol::TreeRecord;
using repository::Id;

namespace {

constexpr int kMaxTries = 4;
// Requests are sent ahead so that the agent never waits, but not so far that one worker takes what
// another could read.
constexpr size_t kMaxAhead = 128;
constexpr uint64_t kMaxBytesAhead = 2U << 20U;

bool SameState(const protocol::TreeEntry& a, const protocol::TreeEntry& b) {
  return a.size == b.size && a.meta.mtime == b.meta.mtime && a.ctime == b.ctime &&
         a.inode == b.inode;
}

}  // namespace

Result<void> FileWorker::Run(AgentTree& tree, const std::string& dir, const std::stop_token& stop) {
  ASSIGN(reader_, tree.OpenReader(dir, stop));
  while (true) {
    TRY(TopUp());
    if (attempts_.empty()) return {};
    ASSIGN(TreeRecord record, reader_->Next());
    TRY(On(record));
  }
}

Result<void> FileWorker::TopUp() {
  while (attempts_.size() < kMaxAhead && declared_ < kMaxBytesAhead) {
    auto groups = hooks_.next(attempts_.empty());
    if (!groups) break;
    for (FileGroup& group : *groups) {
      auto attempt = std::make_unique<Attempt>();
      for (WantedFile& file : group) {
        attempt->declared += file.size;
        attempt->members.push_back({.answer = {.file = std::move(file)}});
      }
      TRY(Request(std::move(attempt)));
    }
    TRY(reader_->Request(std::exchange(wants_, {})));
  }
  return {};
}

// Collects what to send in wants_.
Result<void> FileWorker::Request(std::unique_ptr<Attempt> attempt) {
  for (const Member& member : attempt->members) {
    wants_.push_back({.tag = asked_++, .path = member.answer.file.path});
  }
  if (attempt->verifies()) {
    wants_.push_back({.tag = asked_++, .path = attempt->members.front().answer.file.path});
  }
  declared_ += attempt->declared;
  attempts_.push_back(std::move(attempt));
  return {};
}

Result<void> FileWorker::CheckTag(uint32_t tag) const {
  if (!attempts_.empty() && tag == expected_) return {};
  return Fail(Code::kBadGateway, "the agent sent a file that was not asked for");
}

Result<void> FileWorker::On(TreeRecord& record) {
  if (auto* begin = std::get_if<FileBegin>(&record)) return Begin(*begin);
  if (auto* end = std::get_if<FileEnd>(&record)) return End(*end);
  if (attempts_.empty() || !attempts_.front()->begun) {
    return Fail(Code::kBadGateway, "the agent sent content without a file");
  }
  if (attempts_.front()->discard) return {};
  if (auto* bytes = std::get_if<FileBytes>(&record)) {
    hooks_.bytes_read->fetch_add(bytes->bytes.size(), std::memory_order_relaxed);
    return Keep(cutter_.Bytes(bytes->bytes));
  }
  if (auto* hole = std::get_if<FileHole>(&record)) {
    hooks_.bytes_read->fetch_add(hole->length, std::memory_order_relaxed);
    return Keep(cutter_.Hole(hole->length));
  }
  return Fail(Code::kBadGateway, "the agent sent what is no part of a file");
}

Result<void> FileWorker::Begin(const FileBegin& begin) {
  TRY(CheckTag(begin.tag));
  Attempt& attempt = *attempts_.front();
  attempt.begun = true;
  if (attempt.at == attempt.members.size()) {
    attempt.mixed |= !SameState(begin.entry, attempt.members.front().answer.entry);
    attempt.discard = true;
    return {};
  }
  FileAnswer& answer = attempt.members[attempt.at].answer;
  answer.entry = begin.entry;
  answer.sys_errno = S_ISREG(begin.entry.meta.mode) ? 0 : ESTALE;
  answer.changed = false;
  attempt.discard = answer.sys_errno != 0;
  cutter_.Begin(answer.file.path, begin.entry.size);
  return {};
}

// A file that is too large is left out; the others are not.
Result<void> FileWorker::Keep(Result<void> taken) {
  if (taken || taken.error().reason != "FILE_TOO_LARGE") return taken;
  Attempt& attempt = *attempts_.front();
  attempt.members[attempt.at].answer.sys_errno = EFBIG;
  attempt.discard = true;
  return {};
}

Result<void> FileWorker::End(const FileEnd& end) {
  TRY(CheckTag(end.tag));
  ++expected_;
  Attempt& attempt = *attempts_.front();
  bool begun = std::exchange(attempt.begun, false);
  bool discard = std::exchange(attempt.discard, false);
  if (attempt.at == attempt.members.size()) {
    attempt.mixed |= end.sys_errno != 0;
  } else {
    Member& member = attempt.members[attempt.at];
    FileAnswer& answer = member.answer;
    if (end.sys_errno != 0 && (!begun || answer.sys_errno == 0)) answer.sys_errno = end.sys_errno;
    if (!begun && end.sys_errno == 0) {
      return Fail(Code::kBadGateway, "the agent sent no " + answer.file.path);
    }
    answer.changed = end.changed;
    attempt.mixed |= end.changed && answer.sys_errno == 0;
    bool again = attempt.mixed && !attempt.verifies() && attempt.tries < kMaxTries;
    if (!attempt.verifies() && !again) hooks_.read();
    if (!discard && answer.sys_errno == 0 && !again) {
      answer.size = cutter_.bytes();
      auto content = cutter_.Finish();
      if (!content) {
        return Unexpected(std::move(content).error().Wrap("cannot store " + answer.file.path));
      }
      member.content = *std::move(content);
    }
  }
  if (++attempt.at < attempt.steps()) return {};
  return Settle();
}

// Everything of a group has come: answers, or asks again.
Result<void> FileWorker::Settle() {
  auto attempt = std::move(attempts_.front());
  attempts_.pop_front();
  declared_ -= attempt->declared;
  // Whether the first is there decides for the group; without it the others are just files.
  bool again = attempt->mixed && attempt->tries < kMaxTries &&
               attempt->members.front().answer.sys_errno == 0;
  if (again) {
    ++attempt->tries;
    attempt->at = 0;
    attempt->mixed = false;
    for (Member& member : attempt->members) member.content.reset();
    TRY(Request(std::move(attempt)));
    return reader_->Request(std::exchange(wants_, {}));
  }
  if (attempt->verifies()) hooks_.read();
  if (attempt->mixed) attempt->members.front().answer.changed = true;
  for (Member& member : attempt->members) Answer(member);
  return {};
}

void FileWorker::Answer(Member& member) {
  if (member.answer.sys_errno != 0 || !member.content) {
    if (member.answer.sys_errno == 0) member.answer.sys_errno = ESTALE;
    hooks_.answer(std::move(member.answer));
    return;
  }
  auto content = std::move(member.content);
  auto shared = std::make_shared<FileAnswer>(std::move(member.answer));
  content->WhenStored([shared, answer = hooks_.answer](std::vector<Id> ids) {
    shared->content = std::move(ids);
    answer(std::move(*shared));
  });
}

}  // namespace atl::snapshot
