// SPDX-License-Identifier: Apache-2.0
#include "agent/entry_stat.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace atl::agent {
namespace {

// The kernel's own limit, of a list and of a value.
constexpr size_t kLargeBytes = 64U << 10U;
// Tried first: the kernel allocates as much as it is told.
constexpr size_t kSmallBytes = 512;
// So that an entry always fits a frame.
constexpr size_t kMaxTotal = 512U << 10U;

protocol::Timestamp ToTime(const statx_timestamp& time) {
  return {.seconds = static_cast<uint64_t>(time.tv_sec), .nanos = time.tv_nsec};
}

}  // namespace

protocol::TreeEntry ToEntry(const struct statx& st) {
  protocol::TreeEntry entry;
  entry.meta.mode = st.stx_mode;
  entry.meta.uid = st.stx_uid;
  entry.meta.gid = st.stx_gid;
  entry.meta.mtime = ToTime(st.stx_mtime);
  entry.ctime = ToTime(st.stx_ctime);
  entry.size = st.stx_size;
  entry.inode = st.stx_ino;
  entry.links = st.stx_nlink;
  entry.device = makedev(st.stx_rdev_major, st.stx_rdev_minor);
  return entry;
}

char* XattrReader::Large() {
  if (!large_) large_ = std::make_unique_for_overwrite<char[]>(kLargeBytes);
  return large_.get();
}

template <class List, class Get>
int XattrReader::Read(const List& list, const Get& get, Xattrs* xattrs) {
  std::array<char, kSmallBytes> small_names;
  const char* names = small_names.data();
  ssize_t size = list(small_names.data(), small_names.size());
  if (size < 0 && errno == ERANGE) {
    if (!names_) names_ = std::make_unique_for_overwrite<char[]>(kLargeBytes);
    names = names_.get();
    size = list(names_.get(), kLargeBytes);
  }
  if (size < 0) return errno == ENOTSUP || errno == EPERM || errno == EACCES ? 0 : errno;
  size_t total = 0;
  for (const char* name = names; name < names + size; name += std::strlen(name) + 1) {
    std::array<char, kSmallBytes> small_value;
    const char* value = small_value.data();
    ssize_t length = get(name, small_value.data(), small_value.size());
    if (length < 0 && errno == ERANGE) {
      value = Large();
      length = get(name, Large(), kLargeBytes);
    }
    if (length < 0) continue;
    total += std::strlen(name) + static_cast<size_t>(length) + 16;
    if (total > kMaxTotal) return E2BIG;
    xattrs->emplace_back(name, std::string(value, static_cast<size_t>(length)));
  }
  std::sort(xattrs->begin(), xattrs->end());
  return 0;
}

int XattrReader::ReadAt(const char* name, Xattrs* xattrs) {
  auto list = [&](char* out, size_t size) { return llistxattr(name, out, size); };
  auto get = [&](const char* attribute, char* out, size_t size) {
    return lgetxattr(name, attribute, out, size);
  };
  return Read(list, get, xattrs);
}

int XattrReader::ReadFd(int fd, Xattrs* xattrs) {
  auto list = [&](char* out, size_t size) { return flistxattr(fd, out, size); };
  auto get = [&](const char* attribute, char* out, size_t size) {
    return fgetxattr(fd, attribute, out, size);
  };
  return Read(list, get, xattrs);
}

}  // namespace atl::agent
