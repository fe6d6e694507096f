// SPDX-License-Identifier: Apache-2.0
#include "sys/file_error.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

namespace atl::sys {
namespace {

void Become(Error& error, Code code, std::string_view reason) {
  error.code = code;
  error.reason = reason;
}

}  // namespace

Error FileError(int err, std::string_view what) {
  Error error = ErrnoError(err, what);
  switch (err) {
    case ENOSPC:
    case EDQUOT:
      Become(error, Code::kInternal, "NO_SPACE");
      break;
    case EMFILE:
    case ENFILE:
      Become(error, Code::kInternal, "TOO_MANY_FILES");
      break;
    case ELOOP:
      Become(error, Code::kInvalidArgument, "TOO_MANY_LINKS");
      break;
    case EMLINK:
      Become(error, Code::kInternal, "TOO_MANY_LINKS");
      break;
    case ENOTEMPTY:
      Become(error, Code::kAlreadyExists, "DIRECTORY_NOT_EMPTY");
      break;
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
      Become(error, Code::kAlreadyExists, "RESOURCE_BUSY");
      break;
    case EFBIG:
      Become(error, Code::kTooLarge, "FILE_TOO_LARGE");
      break;
    case EINVAL:
      Become(error, Code::kInvalidArgument, "VALIDATION_FAILED");
      break;
    default:
      if (error.reason.empty()) Become(error, Code::kInternal, "FILESYSTEM_ERROR");
  }
  return error;
}

Unexpected FailFile(int err, std::string_view what) { return Unexpected(FileError(err, what)); }

PlainFile PlainFileOf(int fd) {
  struct stat st{};
  struct statfs file_system{};
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return PlainFile::kNo;
  if (fstatfs(fd, &file_system) != 0) return PlainFile::kNo;
  switch (file_system.f_type) {
    case TMPFS_MAGIC:
      return PlainFile::kMemory;
    case OVERLAYFS_SUPER_MAGIC:
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
      return PlainFile::kDisk;
    default:
      return PlainFile::kNo;
  }
}

}  // namespace atl::sys
