// SPDX-License-Identifier: Apache-2.0
// The tar format: ustar with pax extensions is written and read, GNU's long names and numbers are
// read. The reader is strict: what it does not understand it refuses, so that nobody reads anything
// else into it. Nothing here does I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::protocol {

inline constexpr size_t kTarBlock = 512;

enum class TarType : uint8_t { kFile, kDirectory, kSymlink, kHardLink, kFifo };

struct TarEntry {
  TarType type = TarType::kFile;
  std::string path;  // relative, without "." and "..", "" for the directory itself
  std::string link;  // of a symlink: as it is; of a hard link: as `path`
  uint32_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime = 0;
  uint64_t size = 0;  // of a file's content
};

// The header of an entry, with what extends it. Content follows, and TarPadding of its size.
std::string TarHeader(const TarEntry& entry);
inline size_t TarPadding(uint64_t size) {
  return static_cast<size_t>((kTarBlock - size % kTarBlock) % kTarBlock);
}
// What ends an archive.
inline constexpr size_t kTarEnd = 2 * kTarBlock;

class TarReader {
 public:
  // Fills all of the buffer, or less at the end of the archive's bytes.
  using Source = std::function<Result<size_t>(std::span<char>)>;
  explicit TarReader(Source source) : source_(std::move(source)) {}

  // The next entry, past what is left of the one before; nothing at the end. INVALID_ARCHIVE.
  Result<std::optional<TarEntry>> Next();
  // Content of a file; 0 at its end.
  Result<size_t> Read(std::span<char> buffer);

 private:
  struct Extended;
  struct Header;
  Result<bool> ReadBlock(std::span<char> block);
  Result<void> SkipContent();
  Result<std::string> ReadExtension(uint64_t size);
  static Result<Header> ParseHeader(std::span<const char> block);

  Source source_;
  uint64_t left_ = 0;   // of the content
  size_t padding_ = 0;  // behind it
  bool ended_ = false;
};

// A name in an archive as a relative path without "." parts: kInvalidArgument for one that is
// absolute, has a "..", a NUL or is too long.
Result<std::string> CleanTarPath(std::string_view name);
// Does a symlink at `path` with this target stay inside?
bool TarLinkStaysInside(std::string_view path, std::string_view target);

}  // namespace atl::protocol
