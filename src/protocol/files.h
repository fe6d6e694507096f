// SPDX-License-Identifier: Apache-2.0
// Operations on single files and on lists of them. Paths are absolute, look-ups happen inside, as
// root or as `user` (a name, a number, or either with ":group"). A failed operation is answered by
// Error with the reasons of sys::FileError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/frame.h"
#include "protocol/wire.h"

namespace atl::protocol {

enum class FileKind : uint8_t { kFile, kDirectory, kSymlink, kFifo, kSocket, kDevice };
inline bool IsKnown(FileKind kind) { return kind <= FileKind::kDevice; }

struct FileInfo {
  static constexpr FrameType kType = FrameType::kFileInfo;
  FileKind kind = FileKind::kFile;
  uint32_t mode = 0;  // the permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  uint64_t inode = 0;
  uint64_t mtime_ns = 0;  // since 1970, in two's complement
  std::string target;     // of a symlink

  void Fields(this auto& self, auto& io) {
    io(self.kind), io(self.mode), io(self.uid), io(self.gid), io(self.size), io(self.inode);
    io(self.mtime_ns), io(self.target);
  }
  bool operator==(const FileInfo&) const = default;
};

// Answers FileInfo.
struct StatFile {
  static constexpr FrameType kType = FrameType::kStatFile;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool follow = true;  // false: of a symlink itself
  void Fields(this auto& self, auto& io) { io(self.path), io(self.user), io(self.follow); }
  bool operator==(const StatFile&) const = default;
};

// The content of a regular file. Answers FileOpened. With a descriptor (SCM_RIGHTS) nothing more
// comes, and the connection stays as long as the client wants it; without one kFileData frames
// follow from the file's beginning, then End.
struct ReadFile {
  static constexpr FrameType kType = FrameType::kReadFile;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  void Fields(this auto& self, auto& io) { io(self.path), io(self.user); }
  bool operator==(const ReadFile&) const = default;
};

// Makes or replaces a regular file, through symlinks. Answers FileOpened; the client writes to the
// descriptor that comes along, or sends kFileData frames when there is none, and then kFileCommit,
// which is answered by FileInfo. A client that leaves before has changed nothing, unless it appends
// or the file could only be written where it is (FileOpened says so).
struct WriteFile {
  static constexpr FrameType kType = FrameType::kWriteFile;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool set_mode = false;  // false: that of the file that is replaced, or 0644
  uint32_t mode = 0;
  bool parents = false;  // make the directories that are missing
  bool append = false;
  bool exclusive = false;  // refuse one that exists
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.set_mode), io(self.mode), io(self.parents);
    io(self.append), io(self.exclusive);
  }
  bool operator==(const WriteFile&) const = default;
};

// The same, of a file that belongs to somebody: "user", "user:group" or ":group", as SetFile takes.
struct WriteOwnedFile {
  static constexpr FrameType kType = FrameType::kWriteOwnedFile;
  static constexpr bool kRequest = true;
  WriteFile file;
  std::string owner;
  void Fields(this auto& self, auto& io) { io(self.file), io(self.owner); }
  bool operator==(const WriteOwnedFile&) const = default;
};

struct FileOpened {
  static constexpr FrameType kType = FrameType::kFileOpened;
  FileInfo info;            // WriteFile: of the file as it was, if there was one
  bool existed = false;     //
  bool descriptor = false;  // one came with this frame
  bool in_place = false;    // WriteFile: what is written is seen at once
  void Fields(this auto& self, auto& io) {
    io(self.info), io(self.existed), io(self.descriptor), io(self.in_place);
  }
  bool operator==(const FileOpened&) const = default;
};

// Answers FileInfo. With `parents`, a directory that exists is fine.
struct MakeDir {
  static constexpr FrameType kType = FrameType::kMakeDir;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  uint32_t mode = 0755;
  bool parents = false;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.mode), io(self.parents);
  }
  bool operator==(const MakeDir&) const = default;
};

// `to` is the new path itself, never a directory to move into. Answers FileInfo.
struct MoveFile {
  static constexpr FrameType kType = FrameType::kMoveFile;
  static constexpr bool kRequest = true;
  std::string from;
  std::string to;
  std::string user;
  bool overwrite = true;  // replace a file, or an empty directory by a directory
  bool parents = false;
  void Fields(this auto& self, auto& io) {
    io(self.from), io(self.to), io(self.user), io(self.overwrite), io(self.parents);
  }
  bool operator==(const MoveFile&) const = default;
};

// The same without removing. A directory is copied into the place of one that is not there.
struct CopyFile {
  static constexpr FrameType kType = FrameType::kCopyFile;
  static constexpr bool kRequest = true;
  std::string from;
  std::string to;
  std::string user;
  bool recursive = false;
  bool overwrite = true;
  bool parents = false;
  void Fields(this auto& self, auto& io) {
    io(self.from), io(self.to), io(self.user), io(self.recursive), io(self.overwrite);
    io(self.parents);
  }
  bool operator==(const CopyFile&) const = default;
};

// Answers Ok. Follows no symlink, crosses no mount point.
struct RemoveFile {
  static constexpr FrameType kType = FrameType::kRemoveFile;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool recursive = false;
  bool missing_ok = false;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.recursive), io(self.missing_ok);
  }
  bool operator==(const RemoveFile&) const = default;
};

// Mode, owner ("user", "user:group", ":group") or both. Answers FileInfo.
struct SetFile {
  static constexpr FrameType kType = FrameType::kSetFile;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool set_mode = false;
  uint32_t mode = 0;
  std::string owner;
  bool follow = true;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.set_mode), io(self.mode), io(self.owner), io(self.follow);
  }
  bool operator==(const SetFile&) const = default;
};

// What is in a directory, each directory's names sorted by bytes, a directory before what is in it.
// Answers kFileEntries frames (FileEntry after FileEntry), then ListEnd. Conditions say what is
// listed; directories are entered whether they are listed or not.
struct ListFiles {
  static constexpr FrameType kType = FrameType::kListFiles;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  uint32_t max_depth = 1;              // 1: what is in the directory itself
  bool hidden = true;                  // false: neither list nor enter names that begin with a dot
  uint32_t limit = 10'000;             //
  std::string after;                   // the path of the last entry that is known, relative
  std::string name;                    // a glob that the name matches, "" for any
  std::vector<std::string> exclude;    // globs of names (paths, with a slash) neither listed nor
                                       // entered
  uint32_t kinds = 0;                  // bits 1 << FileKind; 0: any
  uint64_t min_size = 0;               // of files: conditions on the size let files pass alone
  uint64_t max_size = UINT64_MAX;      //
  uint64_t newer_than_ns = INT64_MIN;  // mtime, in two's complement
  uint64_t older_than_ns = INT64_MAX;  //
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.max_depth), io(self.hidden), io(self.limit);
    io(self.after), io(self.name), io(self.exclude), io(self.kinds), io(self.min_size);
    io(self.max_size), io(self.newer_than_ns), io(self.older_than_ns);
  }
  bool operator==(const ListFiles&) const = default;
};

struct FileEntry {
  std::string path;  // relative to the directory
  FileInfo info;
  void Fields(this auto& self, auto& io) { io(self.path), io(self.info); }
  bool operator==(const FileEntry&) const = default;
};

struct ListEnd {
  static constexpr FrameType kType = FrameType::kListEnd;
  bool more = false;     // the limit was reached
  uint64_t skipped = 0;  // what could not be read
  void Fields(this auto& self, auto& io) { io(self.more), io(self.skipped); }
  bool operator==(const ListEnd&) const = default;
};

}  // namespace atl::protocol
