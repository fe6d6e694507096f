// SPDX-License-Identifier: Apache-2.0
#include "sys/page_out.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "sys/fd.h"
#include "sys/process.h"

namespace atl::sys {
namespace {

std::optional<uintptr_t> TakeHex(std::string_view& text, char end) {
  uintptr_t value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || stop == text.data() + text.size() || *stop != end) return {};
  text.remove_prefix(static_cast<size_t>(stop - text.data()) + 1);
  return value;
}

// "begin-end mode offset device inode   path": the range, where a file of that path is mapped.
std::optional<iovec> FileRange(std::string_view line) {
  size_t path = line.find('/');
  if (path == std::string_view::npos) return {};
  auto begin = TakeHex(line, '-');
  if (!begin) return {};
  auto end = TakeHex(line, ' ');
  if (!end || *end <= *begin) return {};
  return iovec{reinterpret_cast<void*>(*begin), *end - *begin};  // NOLINT: in another process
}

}  // namespace

void PageOutFiles(pid_t pid) {
  auto pidfd = PidfdOpen(pid);
  if (!pidfd) return;
  auto maps = ReadFile(fmt::format("/proc/{}/maps", pid));
  if (!maps) return;
  std::string_view rest = *maps;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    auto range = FileRange(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    // One at a time: a mapping that cannot be paged out would end the work on those after it.
    if (range) (void)::syscall(SYS_process_madvise, pidfd->get(), &*range, 1, MADV_PAGEOUT, 0);
  }
}

}  // namespace atl::sys
