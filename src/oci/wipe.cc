// SPDX-License-Identifier: Apache-2.0
#include "oci/wipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <sstream>
#include <string>

#include "sys/fd.h"

namespace atl::oci {
namespace {

constexpr uint64_t kMostWipedBytes = 64U << 20U;

Result<void> WriteZeros(int memory, uint64_t begin, uint64_t end) {
  static constexpr char kZeros[65536] = {};
  while (begin < end) {
    size_t size = std::min<uint64_t>(sizeof(kZeros), end - begin);
    ssize_t written = ::pwrite(memory, kZeros, size, static_cast<off_t>(begin));
    if (written <= 0) return FailErrno(written < 0 ? errno : EIO, "wipe what a fork wipes");
    begin += static_cast<uint64_t>(written);
  }
  return {};
}

// Takes what it wipes from `room`.
Result<void> WipeOne(int pid, uint64_t& room) {
  auto text = sys::ReadFile(fmt::format("/proc/{}/smaps", pid), 64U << 20U);
  // One that has ended and is not waited for has none.
  if (!text && text.error().sys_errno == ESRCH) return {};
  if (!text) return Unexpected(std::move(text).error());
  if (text->empty()) return {};
  ASSIGN(sys::Fd memory, sys::Open(fmt::format("/proc/{}/mem", pid), O_RDWR));
  std::istringstream lines(*text);
  uint64_t begin = 0;
  uint64_t end = 0;
  bool used = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Rss:") || line.starts_with("Swap:")) {
      used = used || !line.ends_with(" 0 kB");
    } else if (line.starts_with("VmFlags:")) {
      if (!used || !line.contains(" wf")) continue;
      if (end - begin > room) {
        return Fail(Code::kFailedPrecondition,
                    "a program has too much memory that forks are to be without");
      }
      room -= end - begin;
      TRY(WriteZeros(memory.get(), begin, end));
    } else {
      // "7f00-7f01 rw-p ...", which is followed by lines with a name and a colon.
      const char* last = line.data() + line.size();
      uint64_t from = 0;
      auto [dash, failure] = std::from_chars(line.data(), last, from, 16);
      if (failure != std::errc() || dash == last || *dash != '-') continue;
      begin = from;
      used = false;
      std::from_chars(dash + 1, last, end, 16);
    }
  }
  return {};
}

}  // namespace

Result<void> WipeAsInFork(const std::vector<int>& processes) {
  uint64_t room = kMostWipedBytes;
  for (int pid : processes) TRY(WipeOne(pid, room));
  return {};
}

}  // namespace atl::oci
