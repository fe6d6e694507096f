// SPDX-License-Identifier: Apache-2.0
#include "blob/directory.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>

namespace atl::blob {
namespace {

// No blob name starts with a dot.
constexpr std::string_view kTemporaryPrefix = ".upload-";

std::string TemporaryName() {
  static std::atomic<uint64_t> counter = 0;
  return fmt::format("{}{}-{}", kTemporaryPrefix, ::getpid(), counter++);
}

Result<void> CheckName(std::string_view name) {
  if (IsBlobName(name)) return {};
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is no name of a blob", name));
}

Result<std::vector<std::string>> Names(int directory) {
  int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return FailErrno(errno, "open the blob directory");
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), &::closedir);
  if (!stream) {
    int err = errno;
    ::close(copy);
    return FailErrno(err, "list the blob directory");
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    names.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return FailErrno(errno, "list the blob directory");
  return names;
}

}  // namespace

bool IsBlobName(std::string_view name) {
  auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  auto allowed = [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  return !name.empty() && name.size() <= 200 && alphanumeric(name.front()) &&
         std::ranges::all_of(name, allowed);
}

Upload::~Upload() {
  if (file_) ::unlinkat(directory_->get(), temporary_.c_str(), 0);
}

Result<void> Upload::Write(std::string_view data) {
  Result<void> written = sys::WriteAll(file_.get(), data);
  if (!written) return Unexpected(std::move(written).error().Wrap("store a blob"));
  size_ += data.size();
  return {};
}

Result<void> Upload::Commit(const std::string& name) {
  TRY(CheckName(name));
  if (::fsync(file_.get()) != 0) return FailErrno(errno, fmt::format("sync blob {}", name));
  int directory = directory_->get();
  // Blobs never change: a name that exists is not replaced.
  if (::renameat2(directory, temporary_.c_str(), directory, name.c_str(), RENAME_NOREPLACE) != 0) {
    return FailErrno(errno, fmt::format("give blob {} its name", name));
  }
  file_.Reset();
  if (::fsync(directory) != 0) {
    int err = errno;
    ::unlinkat(directory, name.c_str(), 0);
    return FailErrno(err, fmt::format("sync the directory of blob {}", name));
  }
  return {};
}

Result<size_t> Download::Read(std::span<char> buffer) {
  while (true) {
    ssize_t n = ::read(file_.get(), buffer.data(), buffer.size());
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return FailErrno(errno, "read a blob");
  }
}

Result<Directory> Directory::Open(const std::string& path) {
  TRY(sys::MakeDirs(path, 0700));
  ASSIGN(sys::Fd fd, sys::Open(path, O_RDONLY | O_DIRECTORY));
  if (::fchmod(fd.get(), 0700) != 0) return FailErrno(errno, fmt::format("chmod {}", path));
  Directory directory(std::move(fd));
  ASSIGN(auto names, Names(directory.directory_->get()));
  for (const std::string& name : names) {
    if (!name.starts_with(kTemporaryPrefix)) continue;
    if (::unlinkat(directory.directory_->get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      return FailErrno(errno, fmt::format("remove {}/{}", path, name));
    }
  }
  return directory;
}

Result<Upload> Directory::Put() const {
  std::string name = TemporaryName();
  ASSIGN(sys::Fd file,
         sys::OpenAt(directory_->get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return Upload(directory_, std::move(name), std::move(file));
}

Result<Download> Directory::Get(const std::string& name) const {
  TRY(CheckName(name));
  ASSIGN(sys::Fd file, sys::OpenAt(directory_->get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return FailErrno(errno, fmt::format("stat blob {}", name));
  if (!S_ISREG(st.st_mode)) {
    return Fail(Code::kInternal, fmt::format("blob {} is not a regular file", name));
  }
  return Download(std::move(file), static_cast<uint64_t>(st.st_size));
}

Result<std::string> Directory::Read(const std::string& name, size_t limit) const {
  TRY(CheckName(name));
  return sys::ReadFileAt(directory_->get(), name, limit);
}

Result<std::vector<std::string>> Directory::List(std::string_view suffix) const {
  ASSIGN(auto names, Names(directory_->get()));
  std::erase_if(
      names, [&](const std::string& name) { return !IsBlobName(name) || !name.ends_with(suffix); });
  return names;
}

Result<void> Directory::Remove(const std::string& name) const {
  TRY(CheckName(name));
  if (::unlinkat(directory_->get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("remove blob {}", name));
  }
  if (::fsync(directory_->get()) != 0) return FailErrno(errno, "sync the blob directory");
  return {};
}

}  // namespace atl::blob
