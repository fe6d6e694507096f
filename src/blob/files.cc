// SPDX-License-Identifier: Apache-2.0
#include "blob/files.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "blob/key.h"
#include "blob/temporary.h"
#include "sys/fd.h"

namespace atl::blob {
namespace {

constexpr time_t kTemporaryLifetime = 24L * 3600;
constexpr int kMaxDepth = 16;

Unexpected Cancelled() { return Fail(Code::kCancelled, "cancelled"); }

Result<void> CheckFileKey(std::string_view key) {
  TRY(CheckKey(key));
  if (key != kTemporaries && !key.starts_with("tmp/")) return {};
  return Fail(Code::kInvalidArgument, "keys below tmp/ are taken");
}

// "data/ab" for reading what is in it; the descriptor is `stream`'s.
struct CloseDir {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using DirStream = std::unique_ptr<DIR, CloseDir>;

Result<DirStream> OpenDir(int root, const std::string& path) {
  ASSIGN(sys::Fd fd, sys::OpenAt(root, path, O_RDONLY | O_DIRECTORY));
  DirStream stream(::fdopendir(fd.get()));
  if (!stream) return FailErrno(errno, fmt::format("list {}", path));
  (void)fd.Release();
  return stream;
}

class FileUpload : public StreamUpload {
 public:
  FileUpload(Temporary file, std::string key, std::string name, std::stop_token stop)
      : file_(std::move(file)),
        key_(std::move(key)),
        name_(std::move(name)),
        stop_(std::move(stop)) {}

  Result<void> Write(std::string_view data) override {
    Result<void> written = file_.Write(std::span(&data, 1), stop_);
    if (!written) return Failed(std::move(written).error());
    return written;
  }

  Result<void> Finish() override {
    if (stop_.stop_requested()) return Failed(std::move(Cancelled()).error());
    Result<void> done = file_.Commit(key_);
    if (!done) return Failed(std::move(done).error());
    return done;
  }

 private:
  Unexpected Failed(Error error) {
    file_.Discard();
    return Unexpected(std::move(error).Wrap(fmt::format("store {} in {}", key_, name_)));
  }

  Temporary file_;
  std::string key_;
  std::string name_;
  std::stop_token stop_;
};

struct Opened {
  sys::Fd file;
  uint64_t size = 0;
};

class Files : public Store {
 public:
  Files(std::string path, std::shared_ptr<Folders> folders)
      : path_(std::move(path)), folders_(std::move(folders)) {}

  using Store::Put;
  Result<void> Put(const std::string& key, std::span<const std::string_view> pieces,
                   std::stop_token stop) override {
    TRY(CheckFileKey(key));
    auto put = [&]() -> Result<void> {
      ASSIGN(Temporary file, Temporary::Make(folders_));
      TRY(file.Write(pieces, stop));
      if (stop.stop_requested()) return Cancelled();
      return file.Commit(key);
    };
    Result<void> done = put();
    if (!done) return Wrapped(std::move(done).error(), "store", key);
    return {};
  }

  Result<std::string> Get(const std::string& key, uint64_t limit, std::stop_token stop) override {
    ASSIGN(Opened blob, OpenBlob(key));
    if (blob.size > limit) {
      return Fail(Code::kTooLarge,
                  fmt::format("{}/{} has {} bytes, above {}", path_, key, blob.size, limit));
    }
    ASSIGN(std::string data, ReadExactly(blob, key, 0, blob.size, stop));
    return data;
  }

  Result<std::string> GetRange(const std::string& key, uint64_t offset, uint64_t length,
                               std::stop_token stop) override {
    ASSIGN(Opened blob, OpenBlob(key));
    if (offset > blob.size || length > blob.size - offset) return Truncated(key);
    ASSIGN(std::string data, ReadExactly(blob, key, offset, length, stop));
    return data;
  }

  Result<std::optional<uint64_t>> Size(const std::string& key, std::stop_token stop) override {
    TRY(CheckFileKey(key));
    if (stop.stop_requested()) return Cancelled();
    struct stat st{};
    if (::fstatat(folders_->root(), key.c_str(), &st, 0) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::optional<uint64_t>();
      return FailErrno(errno, fmt::format("look at {}/{}", path_, key));
    }
    if (!S_ISREG(st.st_mode)) return std::optional<uint64_t>();
    return std::optional<uint64_t>(static_cast<uint64_t>(st.st_size));
  }

  Result<std::vector<Entry>> List(const ListOptions& options, std::stop_token stop) override {
    TRY(CheckPrefix(options.prefix));
    std::vector<Entry> entries;
    TRY(ListFolder("", options, stop, 0, entries));
    std::ranges::sort(entries, {}, &Entry::key);
    return entries;
  }

  Result<void> Remove(const std::string& key, std::stop_token stop) override {
    TRY(CheckFileKey(key));
    if (stop.stop_requested()) return Cancelled();
    if (::unlinkat(folders_->root(), key.c_str(), 0) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return {};
      return FailErrno(errno, fmt::format("remove {}/{}", path_, key));
    }
    // Whoever removes an index and then what it names relies on this order.
    if (NeedsSync(key)) TRY(folders_->Sync(FolderOf(key)));
    return {};
  }

  Result<std::unique_ptr<StreamUpload>> PutStream(const std::string& key, std::string,
                                                  std::stop_token stop) override {
    TRY(CheckFileKey(key));
    Result<Temporary> file = Temporary::Make(folders_);
    if (!file) return Wrapped(std::move(file).error(), "store", key);
    return std::unique_ptr<StreamUpload>(
        std::make_unique<FileUpload>(*std::move(file), key, path_, std::move(stop)));
  }

  Result<std::string> Presign(const std::string&, std::chrono::seconds) override {
    return Fail(Code::kFailedPrecondition,
                fmt::format("{} is a directory: there are no URLs of what is in it", path_),
                "PRESIGN_UNSUPPORTED");
  }

  std::string name() const override { return path_; }
  bool remote() const override { return false; }

 private:
  Unexpected Wrapped(Error error, std::string_view what, std::string_view key) const {
    return Unexpected(std::move(error).Wrap(fmt::format("{} {} in {}", what, key, path_)));
  }
  Unexpected Truncated(std::string_view key) const {
    return Fail(Code::kNotFound, fmt::format("{}/{} is shorter than it should be", path_, key),
                "BLOB_TRUNCATED");
  }

  Result<Opened> OpenBlob(const std::string& key) const {
    TRY(CheckFileKey(key));
    Result<sys::Fd> file = sys::OpenAt(folders_->root(), key, O_RDONLY | O_NONBLOCK);
    if (!file) {
      int err = file.error().sys_errno;
      if (err != ENOENT && err != ENOTDIR) return Wrapped(std::move(file).error(), "open", key);
      return Fail(Code::kNotFound, fmt::format("there is no {} in {}", key, path_),
                  "BLOB_NOT_FOUND");
    }
    struct stat st{};
    if (::fstat(file->get(), &st) != 0) return FailErrno(errno, fmt::format("look at {}", key));
    if (!S_ISREG(st.st_mode)) {
      return Fail(Code::kNotFound, fmt::format("{}/{} is not a file", path_, key),
                  "BLOB_NOT_FOUND");
    }
    return Opened{.file = *std::move(file), .size = static_cast<uint64_t>(st.st_size)};
  }

  Result<std::string> ReadExactly(const Opened& blob, const std::string& key, uint64_t offset,
                                  uint64_t length, const std::stop_token& stop) const {
    std::string data;
    data.resize(length);
    size_t done = 0;
    while (done < length) {
      if (stop.stop_requested()) return Cancelled();
      ssize_t n = ::pread(blob.file.get(), data.data() + done, std::min(kFileStep, length - done),
                          static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return FailErrno(errno, fmt::format("read {}/{}", path_, key));
      if (n == 0) return Truncated(key);
      done += static_cast<size_t>(n);
    }
    return data;
  }

  // `folder` is empty or ends with a slash. What vanishes meanwhile is passed over.
  Result<void> ListFolder(const std::string& folder, const ListOptions& options,
                          const std::stop_token& stop, int depth, std::vector<Entry>& entries) {
    if (stop.stop_requested()) return Cancelled();
    if (depth > kMaxDepth) return {};
    Result<DirStream> stream = OpenDir(folders_->root(), folder.empty() ? "." : folder);
    if (!stream && stream.error().code == Code::kNotFound && depth > 0) return {};
    if (!stream) return Wrapped(std::move(stream).error(), "list", folder);
    int directory = ::dirfd(stream->get());
    std::vector<std::string> below;
    while (true) {
      errno = 0;
      const dirent* item = ::readdir(stream->get());
      if (item == nullptr && errno != 0) {
        return FailErrno(errno, fmt::format("list {}/{}", path_, folder));
      }
      if (item == nullptr) break;
      std::string_view name = item->d_name;
      if (!IsKeyPart(name) || (depth == 0 && name == kTemporaries)) continue;
      std::string path = fmt::format("{}{}", folder, name);
      bool listed = path.starts_with(options.prefix) && path > options.start_after;
      struct stat st{};
      if (item->d_type == DT_DIR) {
        below.push_back(path + "/");
        continue;
      }
      if (item->d_type == DT_REG && !listed) continue;
      if (::fstatat(directory, item->d_name, &st, 0) != 0) continue;
      if (S_ISDIR(st.st_mode)) below.push_back(path + "/");
      if (!S_ISREG(st.st_mode) || !listed) continue;
      entries.push_back(
          {.key = std::move(path),
           .size = static_cast<uint64_t>(st.st_size),
           .modified_ms = st.st_mtim.tv_sec * 1000LL + st.st_mtim.tv_nsec / 1'000'000});
    }
    stream->reset();
    for (const std::string& path : below) {
      bool in_prefix = path.starts_with(options.prefix) || options.prefix.starts_with(path);
      bool behind = path > options.start_after || options.start_after.starts_with(path);
      if (in_prefix && behind) TRY(ListFolder(path, options, stop, depth + 1, entries));
    }
    return {};
  }

  std::string path_;
  std::shared_ptr<Folders> folders_;
};

// What a killed process left behind. Whatever is younger may be somebody's who is at work.
Result<void> RemoveOldTemporaries(int root) {
  ASSIGN(DirStream stream, OpenDir(root, std::string(kTemporaries)));
  int directory = ::dirfd(stream.get());
  time_t oldest = ::time(nullptr) - kTemporaryLifetime;
  while (const dirent* item = ::readdir(stream.get())) {
    struct stat st{};
    if (::fstatat(directory, item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(st.st_mode) && st.st_mtime < oldest) ::unlinkat(directory, item->d_name, 0);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Store>> OpenFiles(const std::string& path) {
  Result<sys::Fd> root = sys::Open(path, O_RDONLY | O_DIRECTORY);
  if (!root && root.error().sys_errno == ENOENT) {
    TRY(sys::MakeDirs(path, 0700));
    root = sys::Open(path, O_RDONLY | O_DIRECTORY);
    if (root) {
      ASSIGN(sys::Fd above, sys::OpenAt(root->get(), "..", O_RDONLY | O_DIRECTORY));
      if (::fsync(above.get()) != 0) return FailErrno(errno, fmt::format("sync {}/..", path));
    }
  }
  if (!root) return Unexpected(std::move(root).error());
  auto folders = std::make_shared<Folders>(*std::move(root));
  TRY(folders->Make(std::string(kTemporaries)));
  TRY(RemoveOldTemporaries(folders->root()));
  return std::shared_ptr<Store>(std::make_shared<Files>(path, std::move(folders)));
}

}  // namespace atl::blob
