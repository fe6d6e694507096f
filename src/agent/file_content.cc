// SPDX-License-Identifier: Apache-2.0
#include "agent/file_content.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "agent/file_place.h"
#include "agent/file_user.h"
#include "protocol/connection.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FileInfo;
using protocol::FileKind;
using protocol::FrameType;

constexpr size_t kPieceBytes = 128U << 10U;
constexpr uint32_t kNewMode = 0644;

Result<void> RequireRegular(const FileInfo& info, const std::string& path) {
  if (info.kind == FileKind::kFile) return {};
  if (info.kind == FileKind::kDirectory) return sys::FailFile(EISDIR, path);
  return Fail(Code::kInvalidArgument, path + " is not a regular file", "NOT_REGULAR_FILE");
}

Result<void> SendOpened(const protocol::FileOpened& opened, int fd, ClientLink* link) {
  if (!opened.descriptor) return link->Send(opened);
  ASSIGN(std::string frame, protocol::Encode(opened));
  return protocol::SendWithFd(link->socket(), frame, fd);
}

void WaitUntilClientLeaves(int socket) {
  pollfd gone{.fd = socket, .events = POLLRDHUP, .revents = 0};
  while (poll(&gone, 1, -1) < 0 && errno == EINTR) {
  }
}

Result<void> SendContent(int fd, const std::string& path, ClientLink* link) {
  auto piece = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  protocol::End end{.files = 1};
  while (true) {
    ssize_t count = read(fd, piece.get(), kPieceBytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return sys::FailFile(errno, "read " + path);
    if (count == 0) return link->Send(end);
    TRY(link->SendData(FrameType::kFileData, {piece.get(), static_cast<size_t>(count)}));
    end.bytes += static_cast<uint64_t>(count);
  }
}

// A file that is being made or replaced. What was written is nowhere in the tree until Commit.
class Writing {
 public:
  Writing(const protocol::WriteFile& request, FileOwner owner) : request_(request), owner_(owner) {}
  ~Writing() {
    if (!temporary_.empty()) unlinkat(place_.dir.get(), temporary_.c_str(), 0);
  }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;

  Result<protocol::FileOpened> Open();
  Result<FileInfo> Commit();
  int fd() const { return fd_.get(); }

 private:
  Result<void> OpenTemporary();
  Result<void> OpenInPlace(int flags);
  Result<void> SetAttributes();
  Result<void> Install();
  Result<void> Name();
  Result<void> CopyOver();
  uint32_t Mode() const {
    if (request_.set_mode) return request_.mode & 07777U;
    return former_ ? former_->mode : kNewMode;
  }

  bool HasOwner() const { return owner_.uid != UINT32_MAX || owner_.gid != UINT32_MAX; }

  const protocol::WriteFile& request_;
  FileOwner owner_;
  Place place_;
  std::optional<FileInfo> former_;
  sys::Fd fd_;
  std::string temporary_;  // its name, where it must have one
  bool in_place_ = false;
};

std::string TemporaryName() {
  uint64_t random = 0;
  (void)!getrandom(&random, sizeof(random), 0);
  return ".atoll-write-" + std::to_string(random);
}

Result<protocol::FileOpened> Writing::Open() {
  if (request_.path.ends_with('/')) return sys::FailFile(EISDIR, request_.path);
  if (request_.parents) TRY(MakeParents(request_.path));
  ASSIGN(place_, FindPlace(request_.path, Follow::kYes));
  auto former = InfoAt(place_);
  if (former) {
    TRY(RequireRegular(*former, request_.path));
    if (request_.exclusive) return sys::FailFile(EEXIST, request_.path);
    former_ = *former;
    // What could not be written may not be replaced either.
    if (faccessat(place_.dir.get(), place_.name.c_str(), W_OK, AT_EACCESS) != 0) {
      return sys::FailFile(errno, request_.path);
    }
  } else if (former.error().sys_errno != ENOENT) {
    return Unexpected(std::move(former).error());
  }
  bool others = former_ && geteuid() != 0 && former_->uid != geteuid();
  if (request_.append) {
    TRY(OpenInPlace(O_APPEND));
  } else if (others) {
    TRY(OpenInPlace(O_TRUNC));
  } else {
    TRY(OpenTemporary());
  }
  return protocol::FileOpened{.info = former_.value_or(FileInfo()),
                              .existed = former_.has_value(),
                              .descriptor = sys::PlainFileOf(fd_.get()) == sys::PlainFile::kDisk,
                              .in_place = in_place_};
}

Result<void> Writing::OpenTemporary() {
  int dir = place_.dir.get();
  int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    temporary_ = TemporaryName();
    fd = openat(dir, temporary_.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) temporary_.clear();
  }
  if (fd >= 0) {
    fd_ = sys::Fd(fd);
    return {};
  }
  int err = errno;
  // A file that may be written in a directory that may not.
  if (former_ && (err == EACCES || err == EPERM || err == EROFS)) return OpenInPlace(O_TRUNC);
  return sys::FailFile(err, request_.path);
}

Result<void> Writing::OpenInPlace(int flags) {
  in_place_ = true;
  int create = former_ ? 0 : O_CREAT | O_EXCL;
  auto fd = sys::OpenAt(place_.dir.get(), place_.name,
                        O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | create | (flags & ~O_TRUNC),
                        0600);
  if (!fd) return sys::FailFile(fd.error().sys_errno, request_.path);
  fd_ = std::move(*fd);
  // A write to what the kernel shows as a file is a command.
  if (sys::PlainFileOf(fd_.get()) == sys::PlainFile::kNo) {
    return Fail(Code::kPermissionDenied, request_.path + " is no file that can be replaced");
  }
  if (!former_) return SetAttributes();
  if ((flags & O_TRUNC) != 0 && ftruncate(fd_.get(), 0) != 0) {
    return sys::FailFile(errno, request_.path);
  }
  return {};
}

Result<void> Writing::SetAttributes() {
  // The owner first: a change of it takes bits of the mode away.
  if (former_ && !in_place_ && (former_->uid != geteuid() || former_->gid != getegid())) {
    if (fchown(fd_.get(), former_->uid, former_->gid) != 0) {
      return sys::FailFile(errno, "keep the owner of " + request_.path);
    }
  }
  if (HasOwner() && fchown(fd_.get(), owner_.uid, owner_.gid) != 0) {
    return sys::FailFile(errno, "chown " + request_.path);
  }
  if (fchmod(fd_.get(), Mode()) != 0) return sys::FailFile(errno, "chmod " + request_.path);
  return {};
}

// Gives the file without a name one beside its place.
Result<void> Writing::Name() {
  std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
  std::string name = TemporaryName();
  if (linkat(AT_FDCWD, self.c_str(), place_.dir.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return sys::FailFile(errno, request_.path);
  }
  temporary_ = std::move(name);
  return {};
}

Result<void> Writing::Install() {
  int dir = place_.dir.get();
  const char* name = place_.name.c_str();
  if (temporary_.empty() && !former_) {
    std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    if (linkat(AT_FDCWD, self.c_str(), dir, name, AT_SYMLINK_FOLLOW) == 0) return {};
    if (errno != EEXIST || request_.exclusive) return sys::FailFile(errno, request_.path);
  }
  if (temporary_.empty()) TRY(Name());
  unsigned flags = request_.exclusive ? RENAME_NOREPLACE : 0;
  if (renameat2(dir, temporary_.c_str(), dir, name, flags) != 0) {
    if (errno == EBUSY && former_) return CopyOver();
    return sys::FailFile(errno, request_.path);
  }
  temporary_.clear();
  return {};
}

// The place is a mount point: nothing can take it.
Result<void> Writing::CopyOver() {
  sys::Fd staged = std::move(fd_);
  TRY(OpenInPlace(O_TRUNC));
  off_t at = 0;
  auto piece = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  while (true) {
    ssize_t count = pread(staged.get(), piece.get(), kPieceBytes, at);
    if (count < 0) return sys::FailFile(errno, request_.path);
    if (count == 0) return {};
    auto written = sys::WriteAll(fd_.get(), {piece.get(), static_cast<size_t>(count)});
    if (!written) return sys::FailFile(written.error().sys_errno, request_.path);
    at += count;
  }
}

Result<FileInfo> Writing::Commit() {
  if (!in_place_) {
    TRY(SetAttributes());
    TRY(Install());
  } else if (request_.set_mode || HasOwner()) {
    TRY(SetAttributes());
  }
  return InfoOf(fd_.get(), request_.path);
}

}  // namespace

Result<void> RunReadFile(const protocol::ReadFile& request, ClientLink* link) {
  ASSIGN(sys::Fd there, OpenPath(request.path, Follow::kYes));
  // Looked at first: opening a FIFO or a device would be noticed by whoever is at the other end.
  ASSIGN(FileInfo info, InfoOf(there.get(), request.path));
  TRY(RequireRegular(info, request.path));
  ASSIGN(sys::Fd fd, Reopen(there.get(), O_RDONLY, request.path));
  there.Reset();
  protocol::FileOpened opened{.info = info,
                              .existed = true,
                              .descriptor = sys::PlainFileOf(fd.get()) != sys::PlainFile::kNo};
  TRY(SendOpened(opened, fd.get(), link));
  if (!opened.descriptor) return SendContent(fd.get(), request.path, link);
  fd.Reset();
  WaitUntilClientLeaves(link->socket());
  return {};
}

namespace {

Result<void> Write(const protocol::WriteFile& request, FileOwner owner, ClientLink* link) {
  Writing writing(request, owner);
  ASSIGN(protocol::FileOpened opened, writing.Open());
  TRY(SendOpened(opened, writing.fd(), link));
  while (true) {
    ASSIGN(protocol::Frame frame, link->Next());
    if (frame.type == FrameType::kFileCommit) break;
    if (frame.type != FrameType::kFileData) {
      return Fail(Code::kInvalidArgument, "a frame of another kind in the content of a file");
    }
    auto written = sys::WriteAll(writing.fd(), frame.payload);
    if (!written) return sys::FailFile(written.error().sys_errno, "write " + request.path);
  }
  ASSIGN(FileInfo info, writing.Commit());
  return link->Send(info);
}

}  // namespace

Result<void> RunWriteFile(const protocol::WriteFile& request, ClientLink* link) {
  return Write(request, FileOwner(), link);
}

Result<void> RunWriteOwnedFile(const protocol::WriteOwnedFile& request, ClientLink* link) {
  ASSIGN(FileOwner owner, FindOwner(request.owner));
  return Write(request.file, owner, link);
}

}  // namespace atl::agent
