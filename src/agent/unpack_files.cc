// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "agent/file_place.h"
#include "agent/tar_files.h"
#include "protocol/messages.h"
#include "protocol/tar.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FrameType;
using protocol::TarEntry;
using protocol::TarType;

constexpr size_t kPieceBytes = 256U << 10U;
constexpr uint64_t kMaxDepth = 256;

// The archive's bytes as they come.
class Incoming {
 public:
  explicit Incoming(ClientLink* link) : link_(link) {}

  Result<size_t> Fill(std::span<char> buffer) {
    size_t filled = 0;
    while (filled < buffer.size()) {
      if (rest_.empty()) {
        ASSIGN(bool more, Next());
        if (!more) break;
      }
      size_t count = std::min(rest_.size(), buffer.size() - filled);
      std::memcpy(buffer.data() + filled, rest_.data(), count);
      rest_.remove_prefix(count);
      filled += count;
    }
    return filled;
  }
  // Whatever stands behind the archive.
  Result<void> Drain() {
    while (true) {
      ASSIGN(bool more, Next());
      if (!more) return {};
    }
  }

 private:
  Result<bool> Next() {
    if (ended_) return false;
    ASSIGN(protocol::Frame frame, link_->Next());
    if (frame.type == FrameType::kFileCommit) {
      ended_ = true;
      return false;
    }
    if (frame.type != FrameType::kFileData) {
      return Fail(Code::kInvalidArgument, "a frame of another kind in an archive");
    }
    rest_ = frame.payload;
    return true;
  }

  ClientLink* link_;
  std::string_view rest_;
  bool ended_ = false;
};

// Where an entry goes: its directory, open, and its name.
struct Spot {
  sys::Fd dir;
  std::string name;
};

class Unpacker {
 public:
  Unpacker(const protocol::UnpackFiles& request, sys::Fd root, Incoming* incoming)
      : request_(request),
        root_(std::move(root)),
        reader_([incoming](std::span<char> buffer) { return incoming->Fill(buffer); }),
        piece_(std::make_unique_for_overwrite<char[]>(kPieceBytes)) {}

  Result<protocol::End> Run();

 private:
  Result<void> Add(const TarEntry& entry);
  Result<void> AddFile(const TarEntry& entry, const Spot& spot);
  Result<void> AddDir(const TarEntry& entry);
  Result<void> AddLink(const TarEntry& entry, const Spot& spot);
  // The directory above, made if it is missing; never behind a symlink.
  Result<Spot> Find(const std::string& path, bool make);
  Result<void> MakeWay(const Spot& spot, const std::string& path);
  Result<void> SetMeta(int fd, const TarEntry& entry);
  Result<void> FinishDirs();

  const protocol::UnpackFiles& request_;
  sys::Fd root_;
  protocol::TarReader reader_;
  std::unique_ptr<char[]> piece_;
  std::vector<TarEntry>
      dirs_;  // their modes and times come last: files are made in them until then
  protocol::End end_;
};

Result<sys::Fd> OpenBelow(int root, const std::string& path, int flags) {
  constexpr uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  auto fd = sys::OpenAt2(root, path.empty() ? "." : path, flags, kResolve);
  if (!fd) return sys::FailFile(fd.error().sys_errno, path);
  return fd;
}

Result<Spot> Unpacker::Find(const std::string& path, bool make) {
  if (static_cast<uint64_t>(std::ranges::count(path, '/')) > kMaxDepth) {
    return Fail(Code::kInvalidArgument, "the archive is refused: it is too deep",
                "INVALID_ARCHIVE");
  }
  size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  auto dir = OpenBelow(root_.get(), parent, O_PATH | O_DIRECTORY);
  if (!dir && dir.error().sys_errno == ENOENT && make) {
    ASSIGN(Spot above, Find(parent, true));
    if (mkdirat(above.dir.get(), above.name.c_str(), 0755) != 0 && errno != EEXIST) {
      return sys::FailFile(errno, parent);
    }
    dir = OpenBelow(root_.get(), parent, O_PATH | O_DIRECTORY);
  }
  if (!dir) return Unexpected(std::move(dir).error());
  return Spot{.dir = std::move(*dir), .name = std::move(name)};
}

// What is there is replaced, but never a directory by something else.
Result<void> Unpacker::MakeWay(const Spot& spot, const std::string& path) {
  if (unlinkat(spot.dir.get(), spot.name.c_str(), 0) == 0 || errno == ENOENT) return {};
  return sys::FailFile(errno, path);
}

Result<void> Unpacker::SetMeta(int fd, const TarEntry& entry) {
  bool kept = request_.keep_owners && geteuid() == 0;
  // Ids that the sandbox does not have stay those of whoever unpacks.
  bool owned = kept && fchown(fd, entry.uid, entry.gid) == 0;
  // What is another's own right must not become somebody else's.
  uint32_t mode = kept && !owned ? entry.mode & 0777U : entry.mode;
  if (fchmod(fd, mode) != 0) return sys::FailFile(errno, entry.path);
  std::array<timespec, 2> times{{{.tv_sec = entry.mtime, .tv_nsec = 0}, {}}};
  times[1] = times[0];
  if (futimens(fd, times.data()) != 0) return sys::FailFile(errno, entry.path);
  return {};
}

Result<void> Unpacker::AddFile(const TarEntry& entry, const Spot& spot) {
  TRY(MakeWay(spot, entry.path));
  sys::Fd fd(
      openat(spot.dir.get(), spot.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return sys::FailFile(errno, entry.path);
  uint64_t left = entry.size;
  while (left > 0) {
    ASSIGN(size_t count, reader_.Read({piece_.get(), kPieceBytes}));
    end_.bytes += count;
    if (end_.bytes > request_.max_bytes) {
      return Fail(Code::kTooLarge, "the archive holds more than it may", "FILE_TOO_LARGE");
    }
    auto written = sys::WriteAll(fd.get(), {piece_.get(), count});
    if (!written) return sys::FailFile(written.error().sys_errno, entry.path);
    left -= count;
  }
  return SetMeta(fd.get(), entry);
}

Result<void> Unpacker::AddDir(const TarEntry& entry) {
  if (!entry.path.empty()) {
    ASSIGN(Spot spot, Find(entry.path, true));
    if (mkdirat(spot.dir.get(), spot.name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return sys::FailFile(errno, entry.path);
      struct stat st{};
      if (fstatat(spot.dir.get(), spot.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISDIR(st.st_mode)) {
        return sys::FailFile(EEXIST, entry.path);
      }
    }
  }
  dirs_.push_back(entry);
  return {};
}

Result<void> Unpacker::AddLink(const TarEntry& entry, const Spot& spot) {
  if (entry.type == TarType::kSymlink) {
    if (!request_.any_links && !protocol::TarLinkStaysInside(entry.path, entry.link)) {
      return Fail(Code::kInvalidArgument,
                  "the archive is refused: the link " + entry.path + " leads out",
                  "INVALID_ARCHIVE");
    }
    TRY(MakeWay(spot, entry.path));
    if (symlinkat(entry.link.c_str(), spot.dir.get(), spot.name.c_str()) != 0) {
      return sys::FailFile(errno, entry.path);
    }
    if (request_.keep_owners && geteuid() == 0) {
      (void)!fchownat(spot.dir.get(), spot.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW);
    }
    return {};
  }
  // To nothing but a regular file of this directory: a link to a symlink could be followed later.
  ASSIGN(Spot target, Find(entry.link, false));
  struct stat st{};
  if (fstatat(target.dir.get(), target.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return sys::FailFile(errno, entry.link);
  }
  if (!S_ISREG(st.st_mode)) {
    return Fail(Code::kInvalidArgument,
                "the archive is refused: " + entry.path + " is a link to no file",
                "INVALID_ARCHIVE");
  }
  if (entry.link == entry.path) return {};
  TRY(MakeWay(spot, entry.path));
  if (linkat(target.dir.get(), target.name.c_str(), spot.dir.get(), spot.name.c_str(), 0) != 0) {
    return sys::FailFile(errno, entry.path);
  }
  return {};
}

Result<void> Unpacker::Add(const TarEntry& entry) {
  if (entry.type == TarType::kDirectory) return AddDir(entry);
  ASSIGN(Spot spot, Find(entry.path, true));
  if (entry.type == TarType::kFile) return AddFile(entry, spot);
  if (entry.type != TarType::kFifo) return AddLink(entry, spot);
  TRY(MakeWay(spot, entry.path));
  if (mkfifoat(spot.dir.get(), spot.name.c_str(), entry.mode & 0777U) != 0) {
    return sys::FailFile(errno, entry.path);
  }
  return {};
}

Result<void> Unpacker::FinishDirs() {
  for (auto dir = dirs_.rbegin(); dir != dirs_.rend(); ++dir) {
    // One that something else has replaced meanwhile has had its mode.
    auto fd = OpenBelow(root_.get(), dir->path, O_RDONLY | O_DIRECTORY);
    if (fd) TRY(SetMeta(fd->get(), *dir));
  }
  return {};
}

Result<protocol::End> Unpacker::Run() {
  while (true) {
    ASSIGN(auto entry, reader_.Next());
    if (!entry) break;
    if (++end_.files > request_.max_entries) {
      return Fail(Code::kTooLarge, "the archive holds more entries than it may", "FILE_TOO_LARGE");
    }
    TRY(Add(*entry));
  }
  TRY(FinishDirs());
  return end_;
}

}  // namespace

Result<void> RunUnpackFiles(const protocol::UnpackFiles& request, ClientLink* link) {
  TRY(MakeParents(request.path + "/."));
  ASSIGN(sys::Fd root, OpenPath(request.path, Follow::kYes, O_DIRECTORY));
  TRY(link->Send(protocol::Ok{}));
  Incoming incoming(link);
  ASSIGN(protocol::End end, Unpacker(request, std::move(root), &incoming).Run());
  TRY(incoming.Drain());
  return link->Send(end);
}

}  // namespace atl::agent
