// SPDX-License-Identifier: Apache-2.0
#include "agent/tree_state.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "agent/file_place.h"
#include "agent/globs.h"
#include "agent/name_list.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxDepth = 512;
constexpr size_t kMaxPath = 4095;

// FNV-1a, twice: what a sandbox could gain by two trees of one value is nothing.
class Hash {
 public:
  void Add(std::string_view bytes) {
    for (char c : bytes) Add(static_cast<unsigned char>(c));
    Add(0);
  }
  void AddNumber(uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) Add(static_cast<unsigned char>(value >> (8 * i)));
  }
  uint64_t high() const { return high_; }
  uint64_t low() const { return low_; }

 private:
  void Add(unsigned char byte) {
    high_ = (high_ ^ byte) * 0x100000001b3U;
    low_ = (low_ * 0x9e3779b97f4a7c15U) ^ (low_ >> 29U) ^ byte;
  }
  uint64_t high_ = 0xcbf29ce484222325U;
  uint64_t low_ = 0x84222325cbf29ce4U;
};

class Walk {
 public:
  explicit Walk(const protocol::ReadTreePart& part) : request_(part.tree), part_(part) {}

  Result<protocol::TreeState> Run(sys::Fd root, const struct statx& st) {
    // A single file counts whatever its name is.
    if (part_.include.empty() || !S_ISDIR(st.stx_mode)) AddEntry("", st);
    if (S_ISDIR(st.stx_mode)) {
      mount_ = st.stx_mnt_id;
      ASSIGN(root, Reopen(root.get(), O_RDONLY | O_DIRECTORY, request_.path));
      AddDir(root.get(), "", 0);
    }
    return protocol::TreeState{.high = hash_.high(), .low = hash_.low(), .entries = entries_};
  }

 private:
  void AddEntry(std::string_view path, const struct statx& st) {
    ++entries_;
    hash_.Add(path);
    for (uint32_t value : {uint32_t{st.stx_mode}, st.stx_uid, st.stx_gid}) hash_.AddNumber(value);
    // What else a directory has changes with what is left out in it.
    if (S_ISDIR(st.stx_mode)) return;
    hash_.AddNumber(st.stx_ino);
    hash_.AddNumber(static_cast<uint64_t>(st.stx_ctime.tv_sec));
    hash_.AddNumber(st.stx_ctime.tv_nsec);
    hash_.AddNumber(st.stx_size);
    hash_.AddNumber(static_cast<uint64_t>(st.stx_mtime.tv_sec));
    hash_.AddNumber(st.stx_mtime.tv_nsec);
  }

  void AddDir(int dir, const std::string& path, size_t depth) {
    NameList names;
    if (int err = names.Read(dir); err != 0) return hash_.AddNumber(static_cast<uint64_t>(err));
    for (size_t i = 0; i < names.size(); ++i) {
      std::string child = path.empty() ? names[i] : path + "/" + names[i];
      if (child.size() > kMaxPath || MatchesAny(request_.exclude, names[i], child)) continue;
      struct statx st{};
      if (statx(dir, names[i], AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) {
        continue;
      }
      bool counts = part_.include.empty() ||
                    (!S_ISDIR(st.stx_mode) && MatchesAny(part_.include, names[i], child));
      if (counts) AddEntry(child, st);
      bool enter = S_ISDIR(st.stx_mode) && request_.recursive && depth < kMaxDepth;
      if (!enter || st.stx_mnt_id != mount_) continue;
      sys::Fd fd(openat(dir, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (fd) AddDir(fd.get(), child, depth + 1);
    }
  }

  const protocol::ReadTreeState& request_;
  const protocol::ReadTreePart& part_;
  uint64_t mount_ = 0;
  uint64_t entries_ = 0;
  Hash hash_;
};

}  // namespace

Result<void> RunReadTreeState(const protocol::ReadTreeState& request, ClientLink* link) {
  return RunReadTreePart({.tree = request, .include = {}}, link);
}

Result<void> RunReadTreePart(const protocol::ReadTreePart& part, ClientLink* link) {
  const protocol::ReadTreeState& request = part.tree;
  TRY(CheckGlobs(request.exclude));
  TRY(CheckGlobs(part.include));
  ASSIGN(sys::Fd root, OpenPath(request.path, Follow::kYes));
  struct statx st{};
  if (statx(root.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) {
    return sys::FailFile(errno, request.path);
  }
  ASSIGN(protocol::TreeState state, Walk(part).Run(std::move(root), st));
  return link->Send(state);
}

}  // namespace atl::agent
