// SPDX-License-Identifier: Apache-2.0
// How directory trees travel: requests of three operations and the records inside their kTree data
// frames. A record never spans frames; a frame holds any number of them, each `{u8 kind, fields}`
// in the form of wire.h. Nothing here does I/O.
//
//   Walk       every entry below a directory, with what stat and xattrs say; no content
//   ReadFiles  the content of files that the client names, in its order
//   Restore    new content is staged beside the old, a plan says what changes place, a commit does
//   StageWrite another connection that fills the stage of a running Restore
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "protocol/frame.h"
#include "protocol/messages.h"
#include "protocol/wire.h"

namespace atl::protocol {

struct Timestamp {
  uint64_t seconds = 0;  // two's complement: may be before 1970
  uint32_t nanos = 0;
  void Fields(this auto& self, auto& io) { io(self.seconds), io(self.nanos); }
  bool operator==(const Timestamp&) const = default;
};

// What belongs to an entry beside its content.
struct EntryMeta {
  uint32_t mode = 0;  // st_mode, type included
  uint32_t uid = 0;
  uint32_t gid = 0;
  Timestamp mtime;
  std::vector<std::pair<std::string, std::string>> xattrs;  // sorted by name
  void Fields(this auto& self, auto& io) {
    io(self.mode), io(self.uid), io(self.gid), io(self.mtime), io(self.xattrs);
  }
  bool operator==(const EntryMeta&) const = default;
};

// What a walk says of an entry. Names are bytes without '/' and NUL, of 1 to 255 bytes.
struct TreeEntry {
  static constexpr uint8_t kKind = 1;
  std::string name;  // of the directory itself: empty
  EntryMeta meta;
  Timestamp ctime;
  uint64_t size = 0;
  uint64_t inode = 0;
  uint64_t links = 0;
  uint64_t device = 0;  // of device nodes: makedev
  std::string link_target;
  void Fields(this auto& self, auto& io) {
    io(self.name), io(self.meta), io(self.ctime), io(self.size), io(self.inode), io(self.links);
    io(self.device), io(self.link_target);
  }
  bool operator==(const TreeEntry&) const = default;
};
// All entries of the directory that was entered last have come. Directories are entered by their
// own TreeEntry: the entries follow it at once, in byte order of their names.
struct LeaveDir {
  static constexpr uint8_t kKind = 2;
  void Fields(this auto&, auto&) {}
  bool operator==(const LeaveDir&) const = default;
};
// An entry of the current directory that cannot be stored: it vanished, cannot be read, lies on
// another file system or too deep.
struct SkippedEntry {
  static constexpr uint8_t kKind = 3;
  std::string name;
  int32_t sys_errno = 0;
  void Fields(this auto& self, auto& io) { io(self.name), io(self.sys_errno); }
  bool operator==(const SkippedEntry&) const = default;
};

// From the client of ReadFiles: a file to read. Files are read one behind the other, in this order:
// what belongs together, as a database and its journal do, is named together.
struct WantFile {
  static constexpr uint8_t kKind = 10;
  uint32_t tag = 0;  // comes back with the answer
  std::string path;  // relative to the directory
  void Fields(this auto& self, auto& io) { io(self.tag), io(self.path); }
  bool operator==(const WantFile&) const = default;
};
// To the client: the file, as it was when it was opened; then FileData and FileHole, then FileEnd.
struct FileBegin {
  static constexpr uint8_t kKind = 11;
  uint32_t tag = 0;
  TreeEntry entry;  // name is empty
  void Fields(this auto& self, auto& io) { io(self.tag), io(self.entry); }
  bool operator==(const FileBegin&) const = default;
};
struct FileHole {
  static constexpr uint8_t kKind = 13;
  uint64_t length = 0;
  void Fields(this auto& self, auto& io) { io(self.length); }
  bool operator==(const FileHole&) const = default;
};
// `sys_errno` is not 0: it could not be opened (then no FileBegin came) or read to its end.
// `changed`: size, mtime or ctime differ from those of FileBegin: what was read may be a mixture.
struct FileEnd {
  static constexpr uint8_t kKind = 14;
  uint32_t tag = 0;
  int32_t sys_errno = 0;
  bool changed = false;
  void Fields(this auto& self, auto& io) { io(self.tag), io(self.sys_errno), io(self.changed); }
  bool operator==(const FileEnd&) const = default;
};

// From the client of StageWrite. Paths are relative to the stage; parents must exist.
struct StageDir {  // mode 0700 until a StageMeta
  static constexpr uint8_t kKind = 20;
  std::string path;
  void Fields(this auto& self, auto& io) { io(self.path); }
  bool operator==(const StageDir&) const = default;
};
// A regular file of `size` bytes (a hole until bytes come). FileBytes follow for the same path
// handle, then StageEnd. Up to 64 files may be open at once.
struct StageFile {
  static constexpr uint8_t kKind = 21;
  uint32_t tag = 0;
  std::string path;
  uint64_t size = 0;
  EntryMeta meta;
  void Fields(this auto& self, auto& io) {
    io(self.tag), io(self.path), io(self.size), io(self.meta);
  }
  bool operator==(const StageFile&) const = default;
};
struct StageEnd {  // all bytes of the file have come: owner, mode, xattrs and times are set
  static constexpr uint8_t kKind = 23;
  uint32_t tag = 0;
  void Fields(this auto& self, auto& io) { io(self.tag); }
  bool operator==(const StageEnd&) const = default;
};
// A symlink, fifo, or hard link to a staged file (then `meta` does not count). Device nodes and
// sockets cannot be made in a sandbox.
struct StageSpecial {
  static constexpr uint8_t kKind = 24;
  std::string path;
  std::string link_target;   // of a symlink
  std::string hard_link_to;  // a path in the stage; empty: no hard link
  EntryMeta meta;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.link_target), io(self.hard_link_to), io(self.meta);
  }
  bool operator==(const StageSpecial&) const = default;
};
// Owner, mode, xattrs and times of a staged directory, once all that it holds is there.
struct StageMeta {
  static constexpr uint8_t kKind = 25;
  std::string path;
  EntryMeta meta;
  void Fields(this auto& self, auto& io) { io(self.path), io(self.meta); }
  bool operator==(const StageMeta&) const = default;
};

// From the client of Restore, before Commit: one change of the directory.
enum class ChangeKind : uint8_t {
  kPut = 0,     // `staged` moves to `path`, whatever is there moves away
  kRemove = 1,  // what is at `path` moves away
  kMeta = 2,    // owner, mode, xattrs and times of what is at `path` change in place
};
inline bool IsKnown(ChangeKind kind) { return kind <= ChangeKind::kMeta; }
struct Change {
  static constexpr uint8_t kKind = 30;
  ChangeKind kind = ChangeKind::kPut;
  std::string path;    // relative to the directory; empty: the directory itself (kMeta)
  std::string staged;  // relative to the stage
  EntryMeta meta;
  void Fields(this auto& self, auto& io) {
    io(self.kind), io(self.path), io(self.staged), io(self.meta);
  }
  bool operator==(const Change&) const = default;
};

// FileBytes and FileData are not visited: `{u8 kind, u32 tag, u64 offset, u32 length, bytes}`; the
// bytes are views into the frame. FileData's offset says where in the file they belong.
struct FileBytes {
  static constexpr uint8_t kKind = 12;
  uint32_t tag = 0;
  uint64_t offset = 0;
  std::string_view bytes;
};

using TreeRecord =
    std::variant<TreeEntry, LeaveDir, SkippedEntry, WantFile, FileBegin, FileBytes, FileHole,
                 FileEnd, StageDir, StageFile, StageEnd, StageSpecial, StageMeta, Change>;

// Collects records for one frame.
class RecordWriter {
 public:
  template <class R>
  void Add(const R& record) {
    Writer writer(std::move(payload_));
    writer.U8(R::kKind);
    writer(record);
    payload_ = std::move(writer).Take();
  }
  void AddBytes(uint32_t tag, uint64_t offset, std::string_view bytes);
  size_t size() const { return payload_.size(); }
  bool empty() const { return payload_.empty(); }
  std::string_view payload() const { return payload_; }
  void Clear() { payload_.clear(); }

 private:
  std::string payload_;
};

// The records of one frame's payload, one by one, each checked: names and paths are what they have
// to be (paths relative, no empty part, no "." or "..", at most 4096 bytes), xattrs at most 64 KiB
// each. Anything else is INVALID_FRAME (kInvalidArgument).
class RecordReader {
 public:
  explicit RecordReader(std::string_view payload) : rest_(payload) {}
  Result<std::optional<TreeRecord>> Next();

 private:
  std::string_view rest_;
};

bool IsEntryName(std::string_view name);
bool IsTreePath(std::string_view path);

// Requests.

// Answers kTree frames with TreeEntry (first that of the directory itself), LeaveDir and
// SkippedEntry records, then WalkEnd; or Error.
struct Walk {
  static constexpr FrameType kType = FrameType::kWalk;
  static constexpr bool kRequest = true;
  std::string dir;                   // absolute
  std::vector<std::string> exclude;  // absolute paths; what is at or below them does not exist
  void Fields(this auto& self, auto& io) { io(self.dir), io(self.exclude); }
  bool operator==(const Walk&) const = default;
};
struct WalkEnd {
  static constexpr FrameType kType = FrameType::kWalkEnd;
  uint64_t entries = 0;
  uint64_t skipped = 0;
  void Fields(this auto& self, auto& io) { io(self.entries), io(self.skipped); }
  bool operator==(const WalkEnd&) const = default;
};

// The client sends kTree frames with WantFile records as it likes, then kTreeEnd; the agent answers
// in the same order with kTree frames of FileBegin, FileBytes, FileHole and FileEnd, and End after
// the client's kTreeEnd.
struct ReadFiles {
  static constexpr FrameType kType = FrameType::kReadFiles;
  static constexpr bool kRequest = true;
  std::string dir;
  void Fields(this auto& self, auto& io) { io(self.dir); }
  bool operator==(const ReadFiles&) const = default;
};

// Makes missing parents, takes the directory's lock (RESOURCE_BUSY), settles what an earlier
// restore left, makes a stage and answers Staged. The client then sends kTree frames with Change
// records and kTreeEnd; the agent writes them to its journal and answers Ok: everything is ready.
// Then Commit; the agent makes the changes, answers Ok, removes what was moved away and answers
// End. A connection that ends before Commit leaves the directory as it was. After Commit the
// changes are made whoever leaves; a process that is killed meanwhile is followed by one that
// finishes.
struct Restore {
  static constexpr FrameType kType = FrameType::kRestore;
  static constexpr bool kRequest = true;
  std::string dir;
  void Fields(this auto& self, auto& io) { io(self.dir); }
  bool operator==(const Restore&) const = default;
};
struct Staged {
  static constexpr FrameType kType = FrameType::kStaged;
  std::string stage;        // its name, for StageWrite: 16 hex digits
  uint64_t free_bytes = 0;  // of the file system
  void Fields(this auto& self, auto& io) { io(self.stage), io(self.free_bytes); }
  bool operator==(const Staged&) const = default;
};
struct Commit {
  static constexpr FrameType kType = FrameType::kCommit;
  void Fields(this auto&, auto&) {}
  bool operator==(const Commit&) const = default;
};
// The client sends kTree frames with StageDir, StageFile, FileBytes, StageEnd, StageSpecial and
// StageMeta records, then kTreeEnd; the agent answers End once they are done, or Error as soon as
// one fails (NO_SPACE, with the path in the message).
struct StageWrite {
  static constexpr FrameType kType = FrameType::kStageWrite;
  static constexpr bool kRequest = true;
  std::string dir;
  std::string stage;
  void Fields(this auto& self, auto& io) { io(self.dir), io(self.stage); }
  bool operator==(const StageWrite&) const = default;
};

}  // namespace atl::protocol
