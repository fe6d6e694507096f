// SPDX-License-Identifier: Apache-2.0
#include "blob/temporary.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "crypto/bytes.h"

namespace atl::blob {

std::string FolderOf(std::string_view path) {
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? "." : std::string(path.substr(0, slash));
}

Result<void> Folders::Make(const std::string& folder) {
  if (folder == ".") return {};
  {
    std::scoped_lock lock(mutex_);
    if (known_.contains(folder)) return {};
  }
  TRY(Make(FolderOf(folder)));
  if (::mkdirat(root(), folder.c_str(), 0700) == 0) {
    TRY(Sync(FolderOf(folder)));
  } else if (errno != EEXIST) {
    return FailErrno(errno, fmt::format("make the folder {}", folder));
  }
  std::scoped_lock lock(mutex_);
  known_.insert(folder);
  return {};
}

void Folders::Forget() {
  std::scoped_lock lock(mutex_);
  known_.clear();
}

Result<void> Folders::Sync(const std::string& folder) const {
  ASSIGN(sys::Fd fd, sys::OpenAt(root(), folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return FailErrno(errno, fmt::format("sync the folder {}", folder));
  return {};
}

Result<Temporary> Temporary::Make(std::shared_ptr<Folders> folders) {
  std::string path = fmt::format("{}/{}", kTemporaries, crypto::RandomHex(16));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  Result<sys::Fd> file = sys::OpenAt(folders->root(), path, kFlags, 0600);
  if (!file && file.error().sys_errno == ENOENT) {
    folders->Forget();
    TRY(folders->Make(std::string(kTemporaries)));
    file = sys::OpenAt(folders->root(), path, kFlags, 0600);
  }
  if (!file) return Unexpected(std::move(file).error());
  return Temporary(std::move(folders), std::move(path), *std::move(file));
}

void Temporary::Discard() {
  if (!file_) return;
  file_.Reset();
  ::unlinkat(folders_->root(), path_.c_str(), 0);
}

Result<void> Temporary::Write(std::span<const std::string_view> pieces,
                              const std::stop_token& stop) {
  std::array<iovec, 64> vector;
  size_t next = 0;
  size_t offset = 0;  // of what is written of pieces[next]
  while (next < pieces.size()) {
    if (stop.stop_requested()) return Fail(Code::kCancelled, "cancelled");
    size_t count = 0;
    size_t bytes = 0;
    for (size_t i = next; i < pieces.size() && count < vector.size() && bytes < kFileStep; ++i) {
      std::string_view piece = pieces[i].substr(i == next ? offset : 0);
      piece = piece.substr(0, kFileStep);
      vector[count++] = {.iov_base = const_cast<char*>(piece.data()), .iov_len = piece.size()};
      bytes += piece.size();
    }
    ssize_t n = ::writev(file_.get(), vector.data(), static_cast<int>(count));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "write a blob");
    auto left = static_cast<size_t>(n);
    while (next < pieces.size() && left >= pieces[next].size() - offset) {
      left -= pieces[next].size() - offset;
      offset = 0;
      ++next;
    }
    offset += left;
  }
  return {};
}

Result<void> Temporary::Commit(const std::string& key) {
  bool sync = NeedsSync(key);
  if (sync && ::fdatasync(file_.get()) != 0) return FailErrno(errno, fmt::format("sync {}", key));
  std::string folder = FolderOf(key);
  TRY(folders_->Make(folder));
  int root = folders_->root();
  if (::renameat(root, path_.c_str(), root, key.c_str()) != 0) {
    if (errno != ENOENT) return FailErrno(errno, fmt::format("give {} its name", key));
    folders_->Forget();
    TRY(folders_->Make(folder));
    if (::renameat(root, path_.c_str(), root, key.c_str()) != 0) {
      return FailErrno(errno, fmt::format("give {} its name", key));
    }
  }
  file_.Reset();
  if (sync) TRY(folders_->Sync(folder));
  return {};
}

}  // namespace atl::blob
