// SPDX-License-Identifier: Apache-2.0
// What changes in a directory, as it happens or since the last time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/frame.h"
#include "protocol/wire.h"

namespace atl::protocol {

// A directory, or one file by way of the directory that it is in. Answers Watching once everything
// that changes from then on will be seen, then kFileEvents frames (FileEvent after FileEvent; an
// empty frame now and then), and End when what was watched is gone.
struct WatchFiles {
  static constexpr FrameType kType = FrameType::kWatchFiles;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool recursive = true;
  std::vector<std::string> include;  // globs as those of ListFiles; empty: everything
  std::vector<std::string> exclude;  // directories that match are not entered either
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.recursive), io(self.include), io(self.exclude);
  }
  bool operator==(const WatchFiles&) const = default;
};

struct Watching {
  static constexpr FrameType kType = FrameType::kWatching;
  bool directory = true;
  uint64_t directories = 0;  // how many are watched
  void Fields(this auto& self, auto& io) { io(self.directory), io(self.directories); }
  bool operator==(const Watching&) const = default;
};

enum class FileEventKind : uint8_t {
  kCreate,
  kModify,
  kDelete,
  kMoveFrom,
  kMoveTo,
  kAttrib,
  kOverflow,  // events were lost; without a path
};
inline bool IsKnown(FileEventKind kind) { return kind <= FileEventKind::kOverflow; }

struct FileEvent {
  FileEventKind kind = FileEventKind::kCreate;
  bool directory = false;
  uint32_t cookie = 0;  // the same for both halves of a move
  std::string path;     // relative to what is watched; the name of a single file
  void Fields(this auto& self, auto& io) {
    io(self.kind), io(self.directory), io(self.cookie), io(self.path);
  }
  bool operator==(const FileEvent&) const = default;
};

// A watch that goes on for a while when its client is gone, and tells the next one what has
// happened meanwhile, as long as it remembers that: WATCH_NOT_FOUND when `resume` names none,
// another one, or an event that it did not have. Answers WatchKept, then kKeptEvents frames (the
// number of the first event as a u64, then FileEvent after FileEvent, each with the next number;
// kOverflow stands for what is not remembered), and End as above.
struct KeepWatch {
  static constexpr FrameType kType = FrameType::kKeepWatch;
  static constexpr bool kRequest = true;
  std::string id;  // the client's choice: 16 to 64 of [0-9a-f]
  bool resume = false;
  uint64_t after = 0;  // the number of the last event that the client knows; 0: none
  WatchFiles what;
  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.resume), io(self.after), io(self.what);
  }
  bool operator==(const KeepWatch&) const = default;
};

struct WatchKept {
  static constexpr FrameType kType = FrameType::kWatchKept;
  Watching watching;
  void Fields(this auto& self, auto& io) { io(self.watching); }
  bool operator==(const WatchKept&) const = default;
};

// A value that is another one when anything below a directory has changed: names, contents (by
// size, times and inode), modes, owners. Answers TreeState.
struct ReadTreeState {
  static constexpr FrameType kType = FrameType::kReadTreeState;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  bool recursive = true;
  std::vector<std::string> exclude;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.recursive), io(self.exclude);
  }
  bool operator==(const ReadTreeState&) const = default;
};

// The same of some files alone, wherever they are: directories do not count.
struct ReadTreePart {
  static constexpr FrameType kType = FrameType::kReadTreePart;
  static constexpr bool kRequest = true;
  ReadTreeState tree;
  std::vector<std::string> include;  // globs
  void Fields(this auto& self, auto& io) { io(self.tree), io(self.include); }
  bool operator==(const ReadTreePart&) const = default;
};

struct TreeState {
  static constexpr FrameType kType = FrameType::kTreeState;
  uint64_t high = 0;
  uint64_t low = 0;
  uint64_t entries = 0;
  void Fields(this auto& self, auto& io) { io(self.high), io(self.low), io(self.entries); }
  bool operator==(const TreeState&) const = default;
};

}  // namespace atl::protocol
