// SPDX-License-Identifier: Apache-2.0
// Writes a directory as a pax archive to stdout. Walks by directory descriptors, follows no
// symlink, and expects the tree to change while it is read.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <utility>

#include "agent/archive_dir.h"
#include "agent/settle.h"
#include "agent/swap.h"

namespace atl::agent {
namespace {

// Each level holds a descriptor.
constexpr int kMaxDepth = 256;
constexpr size_t kBufferBytes = 256U << 10U;
constexpr unsigned kStatxMask = STATX_BASIC_STATS | STATX_MNT_ID;

using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;
using FileId = std::pair<dev_t, uint64_t>;

dev_t DeviceOf(const struct statx& st) { return makedev(st.stx_dev_major, st.stx_dev_minor); }

bool Stat(int dir, const char* name, struct statx* st) {
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
  return statx(dir, name, flags, kStatxMask, st) == 0;
}

class Walker {
 public:
  Walker() : buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}
  ~Walker() { archive_write_free(archive_); }
  Walker(const Walker&) = delete;
  Walker& operator=(const Walker&) = delete;

  Result<protocol::End> Run(int root);

 private:
  Result<void> Open();
  Result<void> WalkDir(int dir, const std::string& path, int depth);
  Result<void> Add(int dir, const std::string& name, const std::string& path, int depth);
  Result<void> AddDir(int dir, const std::string& name, const std::string& path, int depth);
  Result<void> AddFile(int dir, const std::string& name, const std::string& path);
  Result<void> WriteContent(archive_entry* entry, int fd, uint64_t size);
  Result<void> WriteRange(int fd, uint64_t begin, uint64_t size);
  Result<void> WriteHole(uint64_t size);
  Result<void> WriteHeader(archive_entry* entry);
  Entry MakeEntry(const std::string& path, const struct statx& st);
  // True when the file is a link to one that is in the archive, and was written as such.
  Result<bool> WriteHardLink(const std::string& path, const struct statx& st);
  void Remember(const std::string& path, const struct statx& st);
  Error ArchiveError(std::string_view what);

  archive* archive_ = archive_write_new();
  std::unique_ptr<char[]> buffer_;
  void* zeros_ = nullptr;  // mapped until the process ends
  uint64_t mount_ = 0;
  std::map<FileId, std::string> links_;
  protocol::End end_;
};

Error Walker::ArchiveError(std::string_view what) {
  int error = archive_errno(archive_);
  if (error > 0) return ErrnoError(error, what);
  const char* text = archive_error_string(archive_);
  return Error{.code = Code::kInternal,
               .message = std::string(what) + ": " + (text == nullptr ? "unknown" : text)};
}

Result<void> Walker::Open() {
  archive_write_set_format_pax(archive_);
  // Names are bytes: no locale decides whether one can be stored.
  archive_write_set_options(archive_, "hdrcharset=BINARY");
  archive_write_set_bytes_per_block(archive_, 128 << 10);
  archive_write_set_bytes_in_last_block(archive_, 1);
  if (archive_write_open_fd(archive_, STDOUT_FILENO) != ARCHIVE_OK) {
    return Unexpected(ArchiveError("begin the archive"));
  }
  return {};
}

Entry Walker::MakeEntry(const std::string& path, const struct statx& st) {
  Entry entry(archive_entry_new2(archive_), archive_entry_free);
  archive_entry_copy_pathname(entry.get(), path.c_str());
  archive_entry_set_mode(entry.get(), st.stx_mode);
  archive_entry_set_uid(entry.get(), st.stx_uid);
  archive_entry_set_gid(entry.get(), st.stx_gid);
  archive_entry_set_mtime(entry.get(), st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec);
  archive_entry_set_size(entry.get(), 0);
  return entry;
}

Result<void> Walker::WriteHeader(archive_entry* entry) {
  // A warning says that something of the entry could not be stored exactly; it is stored.
  if (archive_write_header(archive_, entry) >= ARCHIVE_WARN) return {};
  return Unexpected(ArchiveError("write the archive"));
}

Result<bool> Walker::WriteHardLink(const std::string& path, const struct statx& st) {
  if (st.stx_nlink < 2) return false;
  auto first = links_.find({DeviceOf(st), st.stx_ino});
  if (first == links_.end()) return false;
  Entry entry = MakeEntry(path, st);
  archive_entry_copy_hardlink(entry.get(), first->second.c_str());
  TRY(WriteHeader(entry.get()));
  ++end_.files;
  return true;
}

void Walker::Remember(const std::string& path, const struct statx& st) {
  if (st.stx_nlink > 1) links_[{DeviceOf(st), st.stx_ino}] = path;
}

Result<protocol::End> Walker::Run(int root) {
  TRY(Open());
  struct statx st{};
  if (!Stat(root, "", &st)) return FailErrno(errno, "stat the directory");
  mount_ = st.stx_mnt_id;
  Entry entry = MakeEntry(".", st);
  TRY(WriteHeader(entry.get()));
  TRY(WalkDir(root, "", 0));
  if (archive_write_close(archive_) != ARCHIVE_OK) {
    return Unexpected(ArchiveError("end the archive"));
  }
  return end_;
}

Result<void> Walker::WalkDir(int dir, const std::string& path, int depth) {
  if (depth > kMaxDepth) {
    return Fail(Code::kInvalidArgument, "directories are nested deeper than " +
                                            std::to_string(kMaxDepth) + " levels: " + path);
  }
  ASSIGN(auto names, ListNames(dir));
  for (const std::string& name : names) {
    if (path.empty() && IsStagingName(name)) continue;
    TRY(Add(dir, name, path.empty() ? name : path + "/" + name, depth));
  }
  return {};
}

Result<void> Walker::Add(int dir, const std::string& name, const std::string& path, int depth) {
  struct statx st{};
  if (!Stat(dir, name.c_str(), &st) || st.stx_mnt_id != mount_) {
    ++end_.skipped;
    return {};
  }
  if (S_ISDIR(st.stx_mode)) return AddDir(dir, name, path, depth);
  ASSIGN(bool linked, WriteHardLink(path, st));
  if (linked) return {};
  if (S_ISREG(st.stx_mode)) return AddFile(dir, name, path);
  Entry entry = MakeEntry(path, st);
  if (S_ISLNK(st.stx_mode)) {
    ssize_t size = readlinkat(dir, name.c_str(), buffer_.get(), 4096);
    if (size <= 0) {
      ++end_.skipped;
      return {};
    }
    archive_entry_copy_symlink(entry.get(),
                               std::string(buffer_.get(), static_cast<size_t>(size)).c_str());
  } else if (!S_ISFIFO(st.stx_mode)) {
    ++end_.skipped;  // a socket or a device
    return {};
  }
  TRY(WriteHeader(entry.get()));
  Remember(path, st);
  ++end_.files;
  return {};
}

Result<void> Walker::AddDir(int dir, const std::string& name, const std::string& path, int depth) {
  auto sub = sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct statx st{};
  // Looked at again: only now is it certain what was opened.
  if (!sub || !Stat(sub->get(), "", &st) || st.stx_mnt_id != mount_) {
    if (!sub && sub.error().code == Code::kResourceExhausted) {
      return Unexpected(std::move(sub).error());
    }
    ++end_.skipped;
    return {};
  }
  Entry entry = MakeEntry(path, st);
  TRY(WriteHeader(entry.get()));
  ++end_.files;
  return WalkDir(sub->get(), path, depth + 1);
}

// The parts of a sparse file that hold data. Without any, a file of one byte and a petabyte of hole
// would be a petabyte of archive.
void AddHoles(archive_entry* entry, int fd, const struct statx& st) {
  auto size = static_cast<int64_t>(st.stx_size);
  if (st.stx_blocks * 512 >= st.stx_size) return;
  int64_t at = 0;
  while (at < size) {
    int64_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0) break;
    int64_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return archive_entry_sparse_clear(entry);
    archive_entry_sparse_add_entry(entry, data, std::min(hole, size) - data);
    at = hole;
  }
  if (archive_entry_sparse_count(entry) == 0) archive_entry_sparse_add_entry(entry, size, 0);
}

Result<void> Walker::AddFile(int dir, const std::string& name, const std::string& path) {
  // O_NONBLOCK: it may have become a fifo.
  auto file = sys::OpenAt(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct statx st{};
  if (!file || !Stat(file->get(), "", &st) || !S_ISREG(st.stx_mode) || st.stx_mnt_id != mount_) {
    ++end_.skipped;
    return {};
  }
  Entry entry = MakeEntry(path, st);
  archive_entry_set_size(entry.get(), static_cast<int64_t>(st.stx_size));
  AddHoles(entry.get(), file->get(), st);
  TRY(WriteHeader(entry.get()));
  Remember(path, st);
  ++end_.files;
  end_.bytes += st.stx_size;
  return WriteContent(entry.get(), file->get(), st.stx_size);
}

// Passes over `size` bytes that the header declares as a hole: libarchive wants to be given them
// and looks at none, so they are pages that nobody has touched.
Result<void> Walker::WriteHole(uint64_t size) {
  constexpr size_t kPiece = 1UL << 30U;
  if (zeros_ == nullptr) {
    void* pages =
        mmap(nullptr, kPiece, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return FailErrno(errno, "map zeros");
    zeros_ = pages;
  }
  while (size > 0) {
    auto written = archive_write_data(archive_, zeros_, std::min<uint64_t>(kPiece, size));
    if (written <= 0) return Unexpected(ArchiveError("write the archive"));
    size -= static_cast<uint64_t>(written);
  }
  return {};
}

Result<void> Walker::WriteContent(archive_entry* entry, int fd, uint64_t size) {
  if (archive_entry_sparse_reset(entry) == 0) return WriteRange(fd, 0, size);
  uint64_t at = 0;
  int64_t offset = 0;
  int64_t length = 0;
  while (archive_entry_sparse_next(entry, &offset, &length) == ARCHIVE_OK) {
    TRY(WriteHole(static_cast<uint64_t>(offset) - at));
    TRY(WriteRange(fd, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
    at = static_cast<uint64_t>(offset + length);
  }
  return WriteHole(size - at);
}

// Exactly `size` bytes: the header has promised them. What the file no longer has is zeros.
Result<void> Walker::WriteRange(int fd, uint64_t begin, uint64_t size) {
  bool shrunk = false;
  for (uint64_t at = begin; at < begin + size;) {
    size_t wanted = std::min<uint64_t>(kBufferBytes, begin + size - at);
    ssize_t count = shrunk ? 0 : pread(fd, buffer_.get(), wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (!shrunk) ++end_.skipped;
      shrunk = true;
      std::fill_n(buffer_.get(), wanted, '\0');
      count = static_cast<ssize_t>(wanted);
    }
    if (archive_write_data(archive_, buffer_.get(), static_cast<size_t>(count)) < 0) {
      return Unexpected(ArchiveError("write the archive"));
    }
    at += static_cast<uint64_t>(count);
  }
  return {};
}

}  // namespace

int TarOutMain(const std::string& dir) {
  auto outcome = [&]() -> Result<protocol::End> {
    ASSIGN(sys::Fd root, OpenArchiveDir(dir));
    TRY(SettleLeftovers(root.get()));
    return Walker().Run(root.get());
  }();
  return ReportOutcome(outcome);
}

}  // namespace atl::agent
