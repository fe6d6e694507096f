// SPDX-License-Identifier: Apache-2.0
#include "agent/file_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "agent/name_list.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FileInfo;
using protocol::FileKind;

constexpr int kMaxDepth = 256;
constexpr size_t kPieceBytes = 256U << 10U;

class Copier {
 public:
  // 0 or an errno; `failed()` is then the path below what is copied.
  int Copy(int from_dir, const char* from, int to_dir, const char* to, int depth);
  const std::string& failed() const { return failed_; }

 private:
  int CopyEntry(int from_dir, const char* from, int to_dir, const char* to, int depth,
                const struct stat& st);
  int CopyDir(int from_dir, const char* from, int to_dir, const char* to, int depth,
              const struct stat& st);
  int CopyRegular(int from_dir, const char* from, int to_dir, const char* to);
  int CopyContent(int in, int out, off_t size);
  int CopyRange(int in, int out, off_t begin, off_t end);
  static int CopyLink(int from_dir, const char* from, int to_dir, const char* to);
  static int SetMeta(int dir, const char* name, const struct stat& st);

  std::unique_ptr<char[]> piece_;
  std::string failed_;
};

int Copier::Copy(int from_dir, const char* from, int to_dir, const char* to, int depth) {
  struct stat st{};
  int err = fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) == 0
                ? CopyEntry(from_dir, from, to_dir, to, depth, st)
                : errno;
  if (err != 0) failed_ = failed_.empty() ? from : std::string(from) + "/" + failed_;
  return err;
}

int Copier::CopyEntry(int from_dir, const char* from, int to_dir, const char* to, int depth,
                      const struct stat& st) {
  int err = 0;
  switch (st.st_mode & S_IFMT) {
    case S_IFDIR:
      return CopyDir(from_dir, from, to_dir, to, depth, st);
    case S_IFREG:
      err = CopyRegular(from_dir, from, to_dir, to);
      break;
    case S_IFLNK:
      err = CopyLink(from_dir, from, to_dir, to);
      break;
    case S_IFIFO:
      err = mkfifoat(to_dir, to, 0600) == 0 ? 0 : errno;
      break;
    default:
      // The first one is what was asked for.
      return depth == 0 ? EINVAL : 0;
  }
  return err != 0 ? err : SetMeta(to_dir, to, st);
}

int Copier::SetMeta(int dir, const char* name, const struct stat& st) {
  // Another's file becomes that of whoever copies it, when it must.
  if (fchownat(dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0 && geteuid() == 0) {
    return errno;
  }
  if (!S_ISLNK(st.st_mode) && fchmodat(dir, name, st.st_mode & 07777U, 0) != 0) return errno;
  std::array<timespec, 2> times{st.st_atim, st.st_mtim};
  return utimensat(dir, name, times.data(), AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

int Copier::CopyLink(int from_dir, const char* from, int to_dir, const char* to) {
  std::array<char, 4096> target;
  ssize_t size = readlinkat(from_dir, from, target.data(), target.size() - 1);
  if (size < 0) return errno;
  target[static_cast<size_t>(size)] = '\0';
  return symlinkat(target.data(), to_dir, to) == 0 ? 0 : errno;
}

int Copier::CopyDir(int from_dir, const char* from, int to_dir, const char* to, int depth,
                    const struct stat& st) {
  if (depth >= kMaxDepth) return ELOOP;
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  sys::Fd in(openat(from_dir, from, kFlags));
  if (!in) return errno;
  NameList names;
  if (int err = names.Read(in.get()); err != 0) return err;
  if (mkdirat(to_dir, to, 0700) != 0) return errno;
  sys::Fd out(openat(to_dir, to, kFlags));
  if (!out) return errno;
  for (size_t i = 0; i < names.size(); ++i) {
    int err = Copy(in.get(), names[i], out.get(), names[i], depth + 1);
    // What has vanished meanwhile is not part of it.
    if (err != 0 && err != ENOENT) return err;
  }
  return SetMeta(to_dir, to, st);
}

int Copier::CopyRegular(int from_dir, const char* from, int to_dir, const char* to) {
  sys::Fd in(openat(from_dir, from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!in) return errno;
  struct stat st{};
  if (fstat(in.get(), &st) != 0) return errno;
  if (!S_ISREG(st.st_mode)) return EAGAIN;  // it was another a moment ago
  sys::Fd out(openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return errno;
  if (ioctl(out.get(), FICLONE, in.get()) == 0) return 0;
  return CopyContent(in.get(), out.get(), st.st_size);
}

// Holes stay holes. A file that grows is copied up to the size that it had.
int Copier::CopyContent(int in, int out, off_t size) {
  if (size == 0) return CopyRange(in, out, 0, 1 << 20);  // as files of the kernel are
  for (off_t at = 0; at < size;) {
    off_t data = lseek(in, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    off_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
    off_t begin = data < 0 ? at : data;
    off_t end = hole < 0 ? size : std::min(hole, size);
    if (begin >= size) break;
    if (int err = CopyRange(in, out, begin, end); err != 0) return err;
    at = end;
  }
  return ftruncate(out, size) == 0 ? 0 : errno;
}

int Copier::CopyRange(int in, int out, off_t begin, off_t end) {
  if (!piece_) piece_ = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  while (begin < end) {
    size_t wanted = std::min<size_t>(kPieceBytes, static_cast<size_t>(end - begin));
    ssize_t count = pread(in, piece_.get(), wanted, begin);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : 0;
    for (ssize_t done = 0; done < count;) {
      ssize_t written =
          pwrite(out, piece_.get() + done, static_cast<size_t>(count - done), begin + done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return errno;
      done += written;
    }
    begin += count;
  }
  return 0;
}

std::string TemporaryName() {
  uint64_t random = 0;
  (void)!getrandom(&random, sizeof(random), 0);
  return ".atoll-copy-" + std::to_string(random);
}

// Is the directory that an entry is to be made in inside of the one that is copied?
Result<bool> IsInside(const Place& to, const FileInfo& dir) {
  ASSIGN(sys::Fd at, sys::OpenAt(to.dir.get(), ".", O_PATH | O_DIRECTORY));
  for (int depth = 0; depth < 4096; ++depth) {
    ASSIGN(FileInfo here, InfoOf(at.get(), to.path));
    if (here.inode == dir.inode) return true;
    ASSIGN(sys::Fd up, sys::OpenAt(at.get(), "..", O_PATH | O_DIRECTORY));
    ASSIGN(FileInfo above, InfoOf(up.get(), to.path));
    if (above.inode == here.inode) return false;
    at = std::move(up);
  }
  return true;
}

}  // namespace

Result<void> CopyTree(const Place& from, const Place& to, CopyOptions options) {
  ASSIGN(FileInfo info, InfoAt(from));
  bool is_dir = info.kind == FileKind::kDirectory;
  if (is_dir && !options.recursive) return sys::FailFile(EISDIR, from.path);
  if (is_dir) {
    ASSIGN(bool inside, IsInside(to, info));
    if (inside) {
      return Fail(Code::kInvalidArgument, to.path + " is inside of " + from.path);
    }
  }
  auto there = InfoAt(to);
  if (there && !options.overwrite) return sys::FailFile(EEXIST, to.path);
  if (there && there->inode == info.inode && !is_dir) {
    return Fail(Code::kInvalidArgument, from.path + " and " + to.path + " are the same file");
  }
  if (there && there->kind == FileKind::kDirectory) {
    return sys::FailFile(is_dir ? EEXIST : EISDIR, to.path);
  }
  if (there && is_dir) return sys::FailFile(ENOTDIR, to.path);
  // Beside its place first: it is there as a whole or not at all.
  std::string temporary = TemporaryName();
  Copier copier;
  int dir = to.dir.get();
  int err = copier.Copy(from.dir.get(), from.name.c_str(), dir, temporary.c_str(), 0);
  std::string what = "copy " + (err == 0 ? from.path : copier.failed());
  unsigned flags = options.overwrite && !is_dir ? 0 : RENAME_NOREPLACE;
  if (err == 0 && renameat2(dir, temporary.c_str(), dir, to.name.c_str(), flags) != 0) err = errno;
  if (err == 0) return {};
  (void)sys::RemoveTree("/proc/self/fd/" + std::to_string(dir) + "/" + temporary);
  return sys::FailFile(err, what);
}

Result<void> RunCopyFile(const protocol::CopyFile& request, ClientLink* link) {
  ASSIGN(Place from, FindNamedPlace(request.from, Follow::kYes));
  TRY(InfoAt(from));
  if (request.parents) TRY(MakeParents(request.to));
  ASSIGN(Place to, FindNamedPlace(request.to, Follow::kNo));
  TRY(CopyTree(from, to, {.recursive = request.recursive, .overwrite = request.overwrite}));
  ASSIGN(FileInfo info, InfoAt(to));
  return link->Send(info);
}

}  // namespace atl::agent
