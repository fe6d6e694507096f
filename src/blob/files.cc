// SPDX-License-Identifier: Apache-2.0
#include "blob/files.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <set>

#include "blob/key.h"
#include "crypto/bytes.h"
#include "sys/fd.h"

namespace atl::blob {
namespace {

constexpr std::string_view kTemporary = "tmp";
constexpr std::string_view kLocks = "locks/";
constexpr time_t kTemporaryLifetime = 24L * 3600;
constexpr size_t kStep = 4UL << 20U;  // between two looks at the stop token
constexpr int kMaxDepth = 16;

Unexpected Cancelled() { return Fail(Code::kCancelled, "cancelled"); }

Result<void> CheckFileKey(std::string_view key) {
  TRY(CheckKey(key));
  if (key != kTemporary && !key.starts_with("tmp/")) return {};
  return Fail(Code::kInvalidArgument, "keys below tmp/ are taken");
}

// A lock tells processes that live now from each other; after a crash it says nothing.
bool NeedsSync(std::string_view key) { return !key.starts_with(kLocks); }

std::string FolderOf(std::string_view path) {
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? "." : std::string(path.substr(0, slash));
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

// The root of a store and what is known about the folders in it.
class Folders {
 public:
  explicit Folders(sys::Fd root) : root_(std::move(root)) {}
  int root() const { return root_.get(); }

  // mkdir -p, each new folder durable in the one above.
  Result<void> Make(const std::string& folder) {
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

  // Somebody has removed a folder.
  void Forget() {
    std::scoped_lock lock(mutex_);
    known_.clear();
  }

  Result<void> Sync(const std::string& folder) const {
    ASSIGN(sys::Fd fd, sys::OpenAt(root(), folder, O_RDONLY | O_DIRECTORY));
    if (::fsync(fd.get()) != 0) return FailErrno(errno, fmt::format("sync the folder {}", folder));
    return {};
  }

 private:
  sys::Fd root_;
  std::mutex mutex_;
  std::set<std::string> known_;  // 256 of data/ and some more
};

// A file below tmp/ until it gets its name.
class Temporary {
 public:
  static Result<Temporary> Make(std::shared_ptr<Folders> folders) {
    std::string path = fmt::format("{}/{}", kTemporary, crypto::RandomHex(16));
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    Result<sys::Fd> file = sys::OpenAt(folders->root(), path, kFlags, 0600);
    if (!file && file.error().sys_errno == ENOENT) {
      folders->Forget();
      TRY(folders->Make(std::string(kTemporary)));
      file = sys::OpenAt(folders->root(), path, kFlags, 0600);
    }
    if (!file) return Unexpected(std::move(file).error());
    return Temporary(std::move(folders), std::move(path), *std::move(file));
  }
  Temporary(Temporary&&) = default;
  Temporary& operator=(Temporary&&) = delete;
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() { Discard(); }

  void Discard() {
    if (!file_) return;
    file_.Reset();
    ::unlinkat(folders_->root(), path_.c_str(), 0);
  }

  Result<void> Write(std::span<const std::string_view> pieces, const std::stop_token& stop) {
    std::array<iovec, 64> vector;
    size_t next = 0;
    size_t offset = 0;  // of what is written of pieces[next]
    while (next < pieces.size()) {
      if (stop.stop_requested()) return Cancelled();
      size_t count = 0;
      size_t bytes = 0;
      for (size_t i = next; i < pieces.size() && count < vector.size() && bytes < kStep; ++i) {
        std::string_view piece = pieces[i].substr(i == next ? offset : 0);
        piece = piece.substr(0, kStep);
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

  Result<void> Commit(const std::string& key) {
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

 private:
  Temporary(std::shared_ptr<Folders> folders, std::string path, sys::Fd file)
      : folders_(std::move(folders)), path_(std::move(path)), file_(std::move(file)) {}

  std::shared_ptr<Folders> folders_;
  std::string path_;
  sys::Fd file_;
};

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
      ssize_t n = ::pread(blob.file.get(), data.data() + done, std::min(kStep, length - done),
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
      if (!IsKeyPart(name) || (depth == 0 && name == kTemporary)) continue;
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
  ASSIGN(DirStream stream, OpenDir(root, std::string(kTemporary)));
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
  TRY(folders->Make(std::string(kTemporary)));
  TRY(RemoveOldTemporaries(folders->root()));
  return std::shared_ptr<Store>(std::make_shared<Files>(path, std::move(folders)));
}

}  // namespace atl::blob
