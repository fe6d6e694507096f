// SPDX-License-Identifier: Apache-2.0
// The file that says what a decided restore still has to do. It is complete before the decision, so
// one that does not end as it has to is none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "protocol/tree.h"
#include "sys/fd.h"

namespace atl::agent {

inline constexpr const char* kJournalName = "journal";
inline constexpr uint64_t kMaxJournalEntries = 40'000'000;

struct JournalEntry {
  protocol::Change change;
  // Of a kPut, what is staged: as long as it lies in the stage the change has not been made.
  uint64_t inode = 0;
  uint32_t mode = 0;
  void Fields(this auto& self, auto& io) { io(self.change), io(self.inode), io(self.mode); }
};

class JournalWriter {
 public:
  static Result<JournalWriter> Create(int staging);
  Result<void> Add(const JournalEntry& entry);
  // Ends the file and waits until it is on the disk.
  Result<void> Finish();
  uint64_t count() const { return count_; }

 private:
  explicit JournalWriter(sys::Fd file) : file_(std::move(file)) {}
  Result<void> Write(std::string_view bytes);
  Result<void> Flush();

  sys::Fd file_;
  std::string buffer_;
  uint64_t count_ = 0;
  uint64_t checksum_ = 0;
};

class JournalReader {
 public:
  // kNotFound when there is none.
  static Result<JournalReader> Open(int staging);
  // True when the file is whole, end and checksum included.
  Result<bool> IsWhole();
  // Nothing at the end.
  Result<std::optional<JournalEntry>> Next();
  void Rewind();

 private:
  explicit JournalReader(sys::Fd file) : file_(std::move(file)) {}
  Result<bool> Need(size_t bytes);
  Result<std::optional<std::string_view>> NextPayload();

  sys::Fd file_;
  std::string buffer_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
  uint64_t count_ = 0;
  uint64_t checksum_ = 0;
  bool end_seen_ = false;
};

}  // namespace atl::agent
