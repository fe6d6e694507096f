// SPDX-License-Identifier: Apache-2.0
#include "agent/name_list.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "protocol/tree.h"

namespace atl::agent {
namespace {

constexpr size_t kReadBytes = 64U << 10U;
constexpr size_t kFirstChunk = 2U << 10U;
constexpr size_t kLargestChunk = 1U << 20U;

}  // namespace

void NameList::Add(const char* name, size_t size) {
  if (room_ < size + 1) {
    chunk_bytes_ = std::clamp(chunk_bytes_ * 2, kFirstChunk, kLargestChunk);
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(chunk_bytes_));
    room_ = chunk_bytes_;
  }
  char* at = chunks_.back().get() + (chunk_bytes_ - room_);
  std::memcpy(at, name, size + 1);
  room_ -= size + 1;
  names_.push_back(at);
}

int NameList::Read(int dir) {
  // Of a process of one thread.
  alignas(dirent64) static char buffer[kReadBytes];
  while (true) {
    ssize_t count = getdents64(dir, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) break;
    for (ssize_t at = 0; at < count;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      size_t size = std::strlen(entry->d_name);
      if (protocol::IsEntryName({entry->d_name, size})) Add(entry->d_name, size);
    }
  }
  // A directory that changes while it is read may give a name twice.
  std::sort(names_.begin(), names_.end(),
            [](const char* a, const char* b) { return std::strcmp(a, b) < 0; });
  auto same = [](const char* a, const char* b) { return std::strcmp(a, b) == 0; };
  names_.erase(std::unique(names_.begin(), names_.end(), same), names_.end());
  return 0;
}

size_t NameList::Find(std::string_view name) const {
  auto found = std::partition_point(names_.begin(), names_.end(),
                                    [&](const char* other) { return other < name; });
  return static_cast<size_t>(found - names_.begin());
}

}  // namespace atl::agent
