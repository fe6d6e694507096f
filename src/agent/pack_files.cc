// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include "agent/file_place.h"
#include "agent/globs.h"
#include "agent/name_list.h"
#include "agent/tar_files.h"
#include "protocol/messages.h"
#include "protocol/tar.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FrameType;
using protocol::TarEntry;
using protocol::TarType;

constexpr size_t kMaxDepth = 512;
constexpr size_t kMaxPath = 4000;
constexpr size_t kFrameBytes = 256U << 10U;
constexpr size_t kMaxLinked = 200'000;

class Packer {
 public:
  Packer(const protocol::PackFiles& request, ClientLink* link)
      : request_(request),
        link_(link),
        frame_(std::make_unique_for_overwrite<char[]>(kFrameBytes)) {}

  Result<void> Run(sys::Fd root);

 private:
  // An error of Result ends the archive; what cannot be read is left out and counted.
  Result<void> AddDir(sys::Fd dir, const std::string& path, size_t depth);
  Result<void> AddEntry(int dir, const char* name, const std::string& path, size_t depth);
  Result<void> AddFile(sys::Fd fd, TarEntry entry, const struct statx& st);
  Result<void> AddContent(int fd, uint64_t size);
  Result<void> Put(std::string_view bytes);
  Result<void> PutZeros(uint64_t count);
  Result<void> Flush();

  const protocol::PackFiles& request_;
  ClientLink* link_;
  std::unique_ptr<char[]> frame_;
  size_t used_ = 0;
  uint64_t mount_ = 0;
  std::map<uint64_t, std::string> linked_;  // first names of files with several, by inode
  protocol::End end_;
};

TarEntry ToTarEntry(const struct statx& st, std::string path) {
  return {.path = std::move(path),
          .mode = st.stx_mode & 07777U,
          .uid = st.stx_uid,
          .gid = st.stx_gid,
          .mtime = st.stx_mtime.tv_sec};
}

bool Stat(int fd, struct statx* st) {
  return statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, st) == 0;
}

Result<void> Packer::Flush() {
  if (used_ == 0) return {};
  return link_->SendData(FrameType::kFileData, {frame_.get(), std::exchange(used_, 0)});
}

Result<void> Packer::Put(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t count = std::min(bytes.size(), kFrameBytes - used_);
    std::memcpy(frame_.get() + used_, bytes.data(), count);
    used_ += count;
    bytes.remove_prefix(count);
    if (used_ == kFrameBytes) TRY(Flush());
  }
  return {};
}

Result<void> Packer::PutZeros(uint64_t count) {
  while (count > 0) {
    size_t some = std::min<uint64_t>(count, kFrameBytes - used_);
    std::memset(frame_.get() + used_, 0, some);
    used_ += some;
    count -= some;
    if (used_ == kFrameBytes) TRY(Flush());
  }
  return {};
}

// Exactly what the header has announced: a file that grows is cut there, one that shrinks is filled
// up with zeros and counted.
Result<void> Packer::AddContent(int fd, uint64_t size) {
  uint64_t at = 0;
  while (at < size) {
    if (used_ == kFrameBytes) TRY(Flush());
    size_t wanted = std::min<uint64_t>(size - at, kFrameBytes - used_);
    ssize_t count = pread(fd, frame_.get() + used_, wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      ++end_.skipped;
      break;
    }
    used_ += static_cast<size_t>(count);
    at += static_cast<uint64_t>(count);
  }
  end_.bytes += at;
  return PutZeros(size - at + protocol::TarPadding(size));
}

Result<void> Packer::AddFile(sys::Fd fd, TarEntry entry, const struct statx& st) {
  if (st.stx_nlink > 1) {
    auto first = linked_.find(st.stx_ino);
    if (first != linked_.end()) {
      entry.type = TarType::kHardLink;
      entry.link = first->second;
      ++end_.files;
      return Put(TarHeader(entry));
    }
    if (linked_.size() < kMaxLinked) linked_.emplace(st.stx_ino, entry.path);
  }
  entry.size = st.stx_size;
  ++end_.files;
  TRY(Put(TarHeader(entry)));
  return AddContent(fd.get(), entry.size);
}

Result<void> Packer::AddEntry(int dir, const char* name, const std::string& path, size_t depth) {
  struct statx st{};
  if (path.size() > kMaxPath || statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                                      STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) {
    ++end_.skipped;
    return {};
  }
  if (st.stx_mnt_id != mount_) return {};
  TarEntry entry = ToTarEntry(st, path);
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  switch (st.stx_mode & S_IFMT) {
    case S_IFDIR: {
      sys::Fd child(depth < kMaxDepth ? openat(dir, name, kFlags | O_DIRECTORY) : -1);
      if (child) return AddDir(std::move(child), path, depth + 1);
      ++end_.skipped;
      return {};
    }
    case S_IFREG: {
      sys::Fd file(openat(dir, name, kFlags));
      // What was a file a moment ago may be a FIFO now.
      if (!file || !Stat(file.get(), &st) || !S_ISREG(st.stx_mode)) {
        ++end_.skipped;
        return {};
      }
      return AddFile(std::move(file), std::move(entry), st);
    }
    case S_IFLNK: {
      std::array<char, 4096> target;
      ssize_t size = readlinkat(dir, name, target.data(), target.size());
      if (size <= 0) {
        ++end_.skipped;
        return {};
      }
      entry.type = TarType::kSymlink;
      entry.link.assign(target.data(), static_cast<size_t>(size));
      break;
    }
    case S_IFIFO:
      entry.type = TarType::kFifo;
      break;
    default:
      return {};  // sockets and devices are nothing that an archive could hold
  }
  ++end_.files;
  return Put(TarHeader(entry));
}

Result<void> Packer::AddDir(sys::Fd dir, const std::string& path, size_t depth) {
  struct statx st{};
  NameList names;
  if (!Stat(dir.get(), &st) || names.Read(dir.get()) != 0) {
    ++end_.skipped;
    return {};
  }
  TarEntry entry = ToTarEntry(st, path);
  entry.type = TarType::kDirectory;
  ++end_.files;
  TRY(Put(TarHeader(entry)));
  for (size_t i = 0; i < names.size(); ++i) {
    std::string child = path.empty() ? names[i] : path + "/" + names[i];
    if (MatchesAny(request_.exclude, names[i], child)) continue;
    TRY(AddEntry(dir.get(), names[i], child, depth));
  }
  return {};
}

Result<void> Packer::Run(sys::Fd root) {
  struct statx st{};
  if (!Stat(root.get(), &st)) return sys::FailFile(errno, request_.path);
  mount_ = st.stx_mnt_id;
  if (S_ISDIR(st.stx_mode)) {
    ASSIGN(root, Reopen(root.get(), O_RDONLY | O_DIRECTORY, request_.path));
    TRY(AddDir(std::move(root), "", 0));
  } else if (S_ISREG(st.stx_mode)) {
    ASSIGN(root, Reopen(root.get(), O_RDONLY, request_.path));
    std::string name = request_.path.substr(request_.path.rfind('/') + 1);
    TRY(AddFile(std::move(root), ToTarEntry(st, name), st));
  } else {
    return Fail(Code::kInvalidArgument, request_.path + " is neither a file nor a directory",
                "NOT_REGULAR_FILE");
  }
  TRY(PutZeros(protocol::kTarEnd));
  TRY(Flush());
  return link_->Send(end_);
}

}  // namespace

Result<void> RunPackFiles(const protocol::PackFiles& request, ClientLink* link) {
  TRY(CheckGlobs(request.exclude));
  ASSIGN(sys::Fd root, OpenPath(request.path, Follow::kYes));
  return Packer(request, link).Run(std::move(root));
}

}  // namespace atl::agent
