// SPDX-License-Identifier: Apache-2.0
#include "sys/ext4.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <string_view>

#include "sys/fd.h"

namespace atl::sys {
namespace {

// struct ext4_super_block
constexpr off_t kSuperAt = 1024;
constexpr size_t kMagicAt = 0x38;
constexpr size_t kStateAt = 0x3A;
constexpr size_t kJournalInodeAt = 0x10C;  // a copy of its i_block, then i_size_high and i_size
constexpr size_t kBlockPointers = 15;
constexpr uint64_t kMagic = 0xEF53;
constexpr uint64_t kErrorState = 2;

using Super = std::array<unsigned char, 1024>;

uint64_t Little(const Super& super, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i > 0; --i) value = value << 8U | super[at + i - 1];
  return value;
}

std::string Withheld(const std::string& device) {
  return fmt::format("/sys/fs/ext4/{}/reserved_clusters", device);
}

}  // namespace

Result<Ext4Super> ReadExt4Super(const std::string& file) {
  ASSIGN(Fd fd, Open(file, O_RDONLY | O_NOFOLLOW));
  Super super{};
  ssize_t n = ::pread(fd.get(), super.data(), super.size(), kSuperAt);
  if (n < 0) return FailErrno(errno, fmt::format("reading {}", file));
  if (n != static_cast<ssize_t>(super.size()) || Little(super, kMagicAt, 2) != kMagic) {
    return Fail(Code::kInternal, fmt::format("{} holds no ext4", file));
  }
  size_t size_at = kJournalInodeAt + 4 * kBlockPointers;
  return Ext4Super{
      .has_errors = (Little(super, kStateAt, 2) & kErrorState) != 0,
      .journal_bytes = Little(super, size_at, 4) << 32U | Little(super, size_at + 4, 4)};
}

Result<std::string> DeviceOf(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) < 0) return FailErrno(errno, fmt::format("stat {}", path));
  std::string link = fmt::format("/sys/dev/block/{}:{}", major(info.st_dev), minor(info.st_dev));
  std::array<char, PATH_MAX> target{};
  ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
  if (n < 0) return FailErrno(errno, fmt::format("looking for the device of {}", path));
  std::string_view name(target.data(), static_cast<size_t>(n));
  return std::string(name.substr(name.rfind('/') + 1));
}

Result<uint64_t> WithheldClusters(const std::string& device) {
  ASSIGN(std::string text, ReadFile(Withheld(device), 64));
  uint64_t clusters = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), clusters);
  if (error != std::errc()) {
    return Fail(Code::kInternal, fmt::format("{} is no number", Withheld(device)));
  }
  return clusters;
}

Result<void> WithholdClusters(const std::string& device, uint64_t clusters) {
  return WriteFile(Withheld(device), fmt::format("{}", clusters));
}

}  // namespace atl::sys
