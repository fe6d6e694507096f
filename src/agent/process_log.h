// SPDX-License-Identifier: Apache-2.0
// What a process has written: both streams in the order of their arrival, addressed by one offset.
// In a file that programs inside can read too, and its end in memory, where it stays when the file
// cannot be written. Bounded: of a long log the beginning is given up.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/ring.h"
#include "protocol/exec.h"
#include "sys/fd.h"

namespace atl::agent {

class ProcessLog {
 public:
  struct Limits {
    uint64_t file_bytes = 16ULL << 20U;  // then it becomes <path>.1 and a new one begins
    size_t ring_bytes = 32U << 10U;
    size_t segments = 8192;        // changes between the streams, or seconds
    size_t ended_segments = 1024;  // the same, once it has ended
  };

  // `goes_on`: behind what the files hold already, all of which counts as standard output.
  explicit ProcessLog(std::string path, bool goes_on = false)
      : ProcessLog(std::move(path), Limits(), goes_on) {}
  ProcessLog(std::string path, Limits limits, bool goes_on = false);

  void Append(bool err, std::string_view bytes, uint64_t time_ms);
  // Nothing more comes: holds no descriptor and little memory from now on.
  void Close();
  // Removes the files.
  void Remove();

  uint64_t begin() const;
  uint64_t end() const { return end_; }
  // What begins at `offset`, or at the beginning if that is later; of one stream and at most
  // `limit` bytes. Nothing at the end.
  std::optional<protocol::LogChunk> Read(uint64_t offset, size_t limit) const;

 private:
  struct Segment {
    uint64_t offset;
    uint64_t time_ms;
    bool err;
  };
  void Continue();
  void Write(std::string_view bytes);
  void Rotate();
  std::string ReadFile(uint64_t offset, size_t count) const;

  std::string path_;
  Limits limits_;
  std::deque<Segment> segments_;
  uint64_t end_ = 0;
  std::unique_ptr<Ring> ring_;
  bool in_file_ = false;      // everything from former_base_ on
  uint64_t base_ = 0;         // offset of the file's first byte
  uint64_t former_base_ = 0;  // of <path>.1; base_ when there is none
  sys::Fd file_;
};

}  // namespace atl::agent
