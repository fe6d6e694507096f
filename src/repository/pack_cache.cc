// SPDX-License-Identifier: Apache-2.0
#include "repository/pack_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/log.h"
#include "sys/fd.h"

namespace atl::repository {
namespace {

constexpr uint64_t kMemoryLimit = 32U << 20U;
// Of two uses that are closer only the first counts.
constexpr int64_t kTouchAfterNs = 1'000'000;
constexpr time_t kTemporaryAge = 3600;
constexpr std::string_view kTemporary = "new-";

struct CachedFile {
  std::string path;
  uint64_t size = 0;
  int64_t used_ns = 0;
};

int64_t Nanos(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

int64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return Nanos(now);
}

std::vector<CachedFile> Scan(const std::string& dir) {
  std::vector<CachedFile> files;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error)) {
    struct stat status{};
    const std::string path = it->path().string();
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const bool temporary = it->path().filename().string().starts_with(kTemporary);
    if (temporary && ::time(nullptr) - status.st_mtime > kTemporaryAge) {
      ::unlink(path.c_str());
      continue;
    }
    files.push_back({.path = path,
                     .size = static_cast<uint64_t>(status.st_size),
                     .used_ns = Nanos(status.st_mtim)});
  }
  return files;
}

}  // namespace

PackCache::PackCache(std::string dir, uint64_t limit) : dir_(std::move(dir)), limit_(limit) {
  if (!dir_.empty()) Trim();
}

std::string PackCache::PathOf(const Id& pack) const {
  const std::string hex = pack.Hex();
  return fmt::format("{}/{}/{}", dir_, hex.substr(0, 2), hex);
}

std::optional<std::string> PackCache::Read(const Id& pack, uint64_t offset, uint64_t length) {
  if (dir_.empty()) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Kept& kept) { return kept.pack == pack; });
    if (found == kept_.end() || found->bytes->size() < offset + length) return std::nullopt;
    kept_.splice(kept_.begin(), kept_, found);
    return found->bytes->substr(offset, length);
  }
  const auto file = sys::Open(PathOf(pack), O_RDONLY | O_NOFOLLOW);
  if (!file) return std::nullopt;
  struct stat status{};
  if (::fstat(file->get(), &status) != 0 ||
      static_cast<uint64_t>(status.st_size) < offset + length) {
    return std::nullopt;
  }
  std::string bytes(length, '\0');
  for (size_t at = 0; at < length;) {
    const ssize_t got =
        ::pread(file->get(), bytes.data() + at, length - at, static_cast<off_t>(offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    at += static_cast<size_t>(got);
  }
  if (NowNs() - Nanos(status.st_mtim) > kTouchAfterNs) ::futimens(file->get(), nullptr);
  return bytes;
}

Result<void> PackCache::Write(const Id& pack, std::string_view bytes) {
  static std::atomic<uint64_t> count = 0;
  const std::string path = PathOf(pack);
  const std::string dir = path.substr(0, path.rfind('/'));
  const std::string temporary = fmt::format("{}/{}{}-{}", dir, kTemporary, ::getpid(), ++count);
  TRY(sys::MakeDirs(dir, 0700));
  auto written = [&]() -> Result<void> {
    ASSIGN(const auto file, sys::Open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    // Not synced: a file that a crash has cut off is found out when it is read.
    TRY(sys::WriteAll(file.get(), bytes));
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      return FailErrno(errno, fmt::format("rename {}", temporary));
    }
    return {};
  }();
  if (!written) ::unlink(temporary.c_str());
  return written;
}

void PackCache::Put(const Id& pack, std::shared_ptr<const std::string> bytes) {
  if (dir_.empty()) {
    const std::lock_guard lock(mutex_);
    if (bytes->size() > kMemoryLimit) return;
    std::erase_if(kept_, [&](const Kept& kept) {
      if (kept.pack == pack) kept_bytes_ -= kept.bytes->size();
      return kept.pack == pack;
    });
    kept_bytes_ += bytes->size();
    kept_.push_front({.pack = pack, .bytes = std::move(bytes)});
    while (kept_bytes_ > kMemoryLimit) {
      kept_bytes_ -= kept_.back().bytes->size();
      kept_.pop_back();
    }
    return;
  }
  if (bytes->size() > limit_) return;
  if (auto written = Write(pack, *bytes); !written) {
    log::Warning("the cache of packs: {}", written.error().message);
    if (ReasonOf(written.error()) == "NO_SPACE") Trim();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    written_since_trim_ += bytes->size();
    // Others write here as well: a look now and then keeps the bound within an eighth.
    if (written_since_trim_ < limit_ / 8) return;
  }
  Trim();
}

void PackCache::Trim() {
  const std::lock_guard lock(mutex_);
  written_since_trim_ = 0;
  std::vector<CachedFile> files = Scan(dir_);
  uint64_t total = 0;
  for (const CachedFile& file : files) total += file.size;
  const uint64_t target = limit_ - (limit_ / 8);
  if (total <= target) return;
  std::sort(files.begin(), files.end(),
            [](const CachedFile& a, const CachedFile& b) { return a.used_ns < b.used_ns; });
  for (const CachedFile& file : files) {
    if (total <= target) break;
    if (::unlink(file.path.c_str()) == 0) total -= file.size;
  }
}

void PackCache::Drop(const Id& pack) {
  if (!dir_.empty()) {
    ::unlink(PathOf(pack).c_str());
    return;
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(kept_, [&](const Kept& kept) {
    if (kept.pack == pack) kept_bytes_ -= kept.bytes->size();
    return kept.pack == pack;
  });
}

}  // namespace atl::repository
