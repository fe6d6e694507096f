// SPDX-License-Identifier: Apache-2.0
#include "agent/file_change.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "agent/file_copy.h"
#include "agent/file_place.h"
#include "agent/file_user.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FileInfo;
using protocol::FileKind;

Result<FileInfo> MakeOneDir(const protocol::MakeDir& request) {
  ASSIGN(Place place, FindPlace(request.path, Follow::kNo));
  bool named = place.name != "." && place.name != "..";
  if (!named || mkdirat(place.dir.get(), place.name.c_str(), 0700) != 0) {
    int err = named ? errno : EEXIST;
    if (err != EEXIST || !request.parents) return sys::FailFile(err, request.path);
    ASSIGN(sys::Fd there, OpenPath(request.path, Follow::kYes));
    ASSIGN(FileInfo info, InfoOf(there.get(), request.path));
    // As mkdir -p says it of a file.
    if (info.kind != FileKind::kDirectory) return sys::FailFile(EEXIST, request.path);
    return info;
  }
  // Whatever the umask is.
  if (fchmodat(place.dir.get(), place.name.c_str(), request.mode & 07777U, 0) != 0) {
    return sys::FailFile(errno, request.path);
  }
  return InfoAt(place);
}

// Removes what is there, directories with everything in them.
Result<void> RemoveAll(const Place& place) {
  // By the descriptor, whose directory stays the same whatever becomes of its path.
  std::string path = "/proc/self/fd/" + std::to_string(place.dir.get()) + "/" + place.name;
  auto removed = sys::RemoveTree(path);
  if (removed || removed.error().sys_errno == 0) return removed;
  return sys::FailFile(removed.error().sys_errno, "remove " + place.path);
}

}  // namespace

Result<void> RunStatFile(const protocol::StatFile& request, ClientLink* link) {
  ASSIGN(sys::Fd there, OpenPath(request.path, request.follow ? Follow::kYes : Follow::kNo));
  ASSIGN(FileInfo info, InfoOf(there.get(), request.path));
  return link->Send(info);
}

Result<void> RunMakeDir(const protocol::MakeDir& request, ClientLink* link) {
  if (request.parents) TRY(MakeParents(request.path));
  ASSIGN(FileInfo info, MakeOneDir(request));
  return link->Send(info);
}

Result<void> RunMoveFile(const protocol::MoveFile& request, ClientLink* link) {
  ASSIGN(Place from, FindNamedPlace(request.from, Follow::kNo));
  TRY(InfoAt(from));
  if (request.parents) TRY(MakeParents(request.to));
  ASSIGN(Place to, FindNamedPlace(request.to, Follow::kNo));
  unsigned flags = request.overwrite ? 0 : RENAME_NOREPLACE;
  if (renameat2(from.dir.get(), from.name.c_str(), to.dir.get(), to.name.c_str(), flags) != 0) {
    int err = errno;
    std::string what = request.from + " to " + request.to;
    // Between file systems, and of directories that are the image's.
    if (err != EXDEV) return sys::FailFile(err, what);
    TRY(CopyTree(from, to, {.recursive = true, .overwrite = request.overwrite}));
    TRY(RemoveAll(from));
  }
  ASSIGN(FileInfo info, InfoAt(to));
  return link->Send(info);
}

Result<void> RunRemoveFile(const protocol::RemoveFile& request, ClientLink* link) {
  ASSIGN(Place place, FindNamedPlace(request.path, Follow::kNo));
  int dir = place.dir.get();
  const char* name = place.name.c_str();
  if (unlinkat(dir, name, 0) != 0) {
    int err = errno;
    auto info = InfoAt(place);
    bool is_dir = info && info->kind == FileKind::kDirectory;
    if (err == ENOENT && request.missing_ok) return link->Send(protocol::Ok{});
    if (!is_dir) return sys::FailFile(err, request.path);
    if (!request.recursive) return sys::FailFile(EISDIR, request.path);
    TRY(RemoveAll(place));
  }
  return link->Send(protocol::Ok{});
}

Result<void> RunSetFile(const protocol::SetFile& request, ClientLink* link) {
  ASSIGN(sys::Fd there, OpenPath(request.path, request.follow ? Follow::kYes : Follow::kNo));
  // The owner first: a change of it takes bits of the mode away.
  if (!request.owner.empty()) {
    ASSIGN(FileOwner owner, FindOwner(request.owner));
    if (fchownat(there.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH) != 0) {
      return sys::FailFile(errno, "chown " + request.path);
    }
  }
  if (request.set_mode) {
    std::string self = "/proc/self/fd/" + std::to_string(there.get());
    if (chmod(self.c_str(), request.mode & 07777U) != 0) {
      return sys::FailFile(errno, "chmod " + request.path);
    }
  }
  ASSIGN(FileInfo info, InfoOf(there.get(), request.path));
  return link->Send(info);
}

}  // namespace atl::agent
