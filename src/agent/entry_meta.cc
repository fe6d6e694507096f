// SPDX-License-Identifier: Apache-2.0
#include "agent/entry_meta.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxXattrList = 64U << 10U;

bool IsRefusal(int err) {
  return err == EPERM || err == EACCES || err == EINVAL || err == EOPNOTSUPP || err == EOVERFLOW;
}

std::array<timespec, 2> Times(const protocol::EntryMeta& meta) {
  return {{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, ToTimespec(meta.mtime)}};
}

// Programs may read and write all of user.*; the rest the kernel keeps, or nobody may set it here.
Result<void> RemoveOtherXattrs(int fd, const protocol::EntryMeta& meta) {
  std::string names(4096, '\0');
  ssize_t size = flistxattr(fd, names.data(), names.size());
  if (size < 0 && errno == ERANGE) {
    names.resize(kMaxXattrList);
    size = flistxattr(fd, names.data(), names.size());
  }
  if (size < 0) return errno == EOPNOTSUPP ? Result<void>() : FailErrno(errno, "list attributes");
  for (size_t at = 0; at < static_cast<size_t>(size);) {
    const char* name = names.c_str() + at;
    at += std::char_traits<char>::length(name) + 1;
    bool given = std::any_of(meta.xattrs.begin(), meta.xattrs.end(),
                             [&](const auto& xattr) { return xattr.first == name; });
    if (given || !std::string_view(name).starts_with("user.")) continue;
    if (fremovexattr(fd, name) != 0 && errno != ENODATA) {
      return FailErrno(errno, "remove an attribute");
    }
  }
  return {};
}

// A descriptor that is good for nothing but naming the entry.
Result<void> ChmodAt(int dir, const std::string& name, mode_t mode) {
  ASSIGN(sys::Fd entry, sys::OpenAt(dir, name, O_PATH | O_NOFOLLOW));
  std::string path = "/proc/self/fd/" + std::to_string(entry.get());
  if (chmod(path.c_str(), mode) != 0) return FailErrno(errno, "set the mode of " + name);
  return {};
}

}  // namespace

timespec ToTimespec(const protocol::Timestamp& time) {
  // Larger numbers have a meaning of their own to utimensat.
  uint32_t nanos = time.nanos < 1'000'000'000 ? time.nanos : 0;
  return {.tv_sec = static_cast<time_t>(time.seconds), .tv_nsec = static_cast<long>(nanos)};
}

Result<void> SetMeta(int fd, const protocol::EntryMeta& meta, MetaHints hints,
                     MetaRefusals* refusals) {
  mode_t mode = meta.mode & 07777U;
  if (!hints.owned && fchown(fd, meta.uid, meta.gid) != 0) {
    if (!IsRefusal(errno)) return FailErrno(errno, "set the owner");
    ++refusals->count;
    // Whose rights these bits would give is not known.
    mode &= 01777U;
  }
  bool has_mode = hints.fresh && (mode & 07000U) == 0;
  if (!has_mode && fchmod(fd, mode) != 0) return FailErrno(errno, "set the mode");
  if (!hints.fresh) TRY(RemoveOtherXattrs(fd, meta));
  for (const auto& [name, value] : meta.xattrs) {
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (!IsRefusal(errno)) return FailErrno(errno, "set the attribute " + name);
    ++refusals->count;
  }
  auto times = Times(meta);
  if (futimens(fd, times.data()) != 0) return FailErrno(errno, "set the time");
  return {};
}

Result<void> SetMetaAt(int dir, const std::string& name, const protocol::EntryMeta& meta,
                       MetaRefusals* refusals) {
  if (S_ISREG(meta.mode) || S_ISDIR(meta.mode)) {
    int kind = S_ISDIR(meta.mode) ? O_DIRECTORY : O_NONBLOCK | O_NOCTTY;
    ASSIGN(sys::Fd entry, sys::OpenAt(dir, name, O_RDONLY | O_NOFOLLOW | kind));
    return SetMeta(entry.get(), meta, {}, refusals);
  }
  mode_t mode = meta.mode & 07777U;
  if (fchownat(dir, name.c_str(), meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    if (!IsRefusal(errno)) return FailErrno(errno, "set the owner of " + name);
    ++refusals->count;
    mode &= 01777U;
  }
  if (!S_ISLNK(meta.mode)) TRY(ChmodAt(dir, name, mode));
  auto times = Times(meta);
  if (utimensat(dir, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(errno, "set the time of " + name);
  }
  return {};
}

}  // namespace atl::agent
