// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "protocol/tar.h"

namespace atl::protocol {
namespace {

constexpr size_t kMaxExtension = 64U << 10U;
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxName = 255;
constexpr uint64_t kMostSize = uint64_t{1} << 62U;

Unexpected Invalid(std::string why) {
  return Fail(Code::kInvalidArgument, "the archive is refused: " + std::move(why),
              "INVALID_ARCHIVE");
}

// Up to the first NUL.
std::string_view Text(std::span<const char> field) {
  std::string_view text(field.data(), field.size());
  return text.substr(0, text.find('\0'));
}

// Octal digits among spaces and NULs, or GNU's base 256, big-endian with the first bit set.
Result<uint64_t> Number(std::span<const char> field) {
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    if (static_cast<unsigned char>(field[0]) != 0x80U) return Invalid("a negative number");
    uint64_t value = 0;
    for (char c : field.subspan(1)) {
      if (value >> 56U != 0) return Invalid("a number is too large");
      value = value << 8U | static_cast<unsigned char>(c);
    }
    return value;
  }
  std::string_view text = Text(field);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.empty()) return 0;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || end != text.data() + text.size()) return Invalid("a bad number");
  return value;
}

template <class T>
Result<T> Decimal(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Invalid("a bad number in an extended header");
  }
  return value;
}

Result<uint32_t> Small(uint64_t value) {
  if (value > std::numeric_limits<uint32_t>::max()) return Invalid("a number is too large");
  return static_cast<uint32_t>(value);
}

bool IsZero(std::span<const char> block) {
  return std::ranges::all_of(block, [](char c) { return c == 0; });
}

// Of the bytes, with spaces in the place of the sum itself.
bool HasChecksum(std::span<const char> block, uint64_t sum) {
  uint64_t of_unsigned = 0;
  int64_t of_signed = 0;  // as some old programs count
  for (size_t i = 0; i < block.size(); ++i) {
    char c = i >= 148 && i < 156 ? ' ' : block[i];
    of_unsigned += static_cast<unsigned char>(c);
    of_signed += static_cast<signed char>(c);
  }
  return sum == of_unsigned || static_cast<int64_t>(sum) == of_signed;
}

}  // namespace

// What an extended header says of the entry that follows.
struct TarReader::Extended {
  std::optional<std::string> path;
  std::optional<std::string> link;
  std::optional<uint64_t> size;
  std::optional<uint64_t> uid;
  std::optional<uint64_t> gid;
  std::optional<int64_t> mtime;

  Result<void> Take(std::string_view records, bool global);
  Result<void> Set(std::string_view key, std::string_view value);
};

struct TarReader::Header {
  char type = '0';
  TarEntry entry;
};

Result<void> TarReader::Extended::Set(std::string_view key, std::string_view value) {
  if (value.find('\0') != std::string_view::npos) return Invalid("a NUL in a name");
  if (key == "path") {
    path = value;
  } else if (key == "linkpath") {
    link = value;
  } else if (key == "size") {
    ASSIGN(size, Decimal<uint64_t>(value));
  } else if (key == "uid") {
    ASSIGN(uid, Decimal<uint64_t>(value));
  } else if (key == "gid") {
    ASSIGN(gid, Decimal<uint64_t>(value));
  } else if (key == "mtime") {
    ASSIGN(mtime, Decimal<int64_t>(value.substr(0, value.find('.'))));
  } else if (key.starts_with("GNU.sparse.") || key == "hdrcharset") {
    // Content and names would not be what they seem.
    return Invalid("it has sparse files or names in another encoding");
  }
  return {};
}

// "length key=value\n", again and again; the length counts all of it.
Result<void> TarReader::Extended::Take(std::string_view records, bool global) {
  while (!records.empty()) {
    size_t space = records.find(' ');
    if (space == std::string_view::npos) return Invalid("a bad extended header");
    ASSIGN(auto length, Decimal<uint64_t>(records.substr(0, space)));
    if (length > records.size() || length < space + 3 || records[length - 1] != '\n') {
      return Invalid("a bad extended header");
    }
    std::string_view record = records.substr(space + 1, length - space - 2);
    records.remove_prefix(length);
    size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) return Invalid("a bad extended header");
    std::string_view key = record.substr(0, equals);
    bool counts = key == "path" || key == "linkpath" || key == "size";
    if (global && counts) return Invalid("a global header names a file");
    if (!global) TRY(Set(key, record.substr(equals + 1)));
  }
  return {};
}

Result<bool> TarReader::ReadBlock(std::span<char> block) {
  ASSIGN(size_t count, source_(block));
  if (count == 0) return false;
  if (count < block.size()) return Invalid("it is cut short");
  return true;
}

Result<void> TarReader::SkipContent() {
  std::array<char, 8192> waste;
  while (left_ > 0) TRY(Read(waste));
  if (padding_ == 0) return {};
  std::span<char> rest(waste.data(), std::exchange(padding_, 0));
  ASSIGN(size_t count, source_(rest));
  return count == rest.size() ? Result<void>() : Invalid("it is cut short");
}

Result<size_t> TarReader::Read(std::span<char> buffer) {
  size_t wanted = static_cast<size_t>(std::min<uint64_t>(left_, buffer.size()));
  if (wanted == 0) return 0;
  ASSIGN(size_t count, source_(buffer.first(wanted)));
  if (count < wanted) return Invalid("it is cut short");
  left_ -= count;
  return count;
}

Result<std::string> TarReader::ReadExtension(uint64_t size) {
  if (size > kMaxExtension) return Invalid("an extended header is too long");
  left_ = size;
  padding_ = TarPadding(size);
  std::string text(size, '\0');
  TRY(Read(text));
  TRY(SkipContent());
  return text;
}

Result<TarReader::Header> TarReader::ParseHeader(std::span<const char> block) {
  ASSIGN(uint64_t sum, Number(block.subspan(148, 8)));
  if (!HasChecksum(block, sum)) return Invalid("a header's checksum is wrong");
  Header header{.type = block[156]};
  TarEntry& entry = header.entry;
  entry.path = Text(block.subspan(0, 100));
  entry.link = Text(block.subspan(157, 100));
  ASSIGN(uint64_t mode, Number(block.subspan(100, 8)));
  entry.mode = static_cast<uint32_t>(mode & 07777U);
  ASSIGN(uint64_t uid, Number(block.subspan(108, 8)));
  ASSIGN(entry.uid, Small(uid));
  ASSIGN(uint64_t gid, Number(block.subspan(116, 8)));
  ASSIGN(entry.gid, Small(gid));
  ASSIGN(entry.size, Number(block.subspan(124, 12)));
  ASSIGN(uint64_t mtime, Number(block.subspan(136, 12)));
  entry.mtime = static_cast<int64_t>(std::min(mtime, kMostSize));
  // Only POSIX has a prefix there; GNU's magic ends in spaces.
  std::string_view magic(block.data() + 257, 6);
  std::string_view prefix = Text(block.subspan(345, 155));
  if (magic == std::string_view("ustar\0", 6) && !prefix.empty()) {
    entry.path = std::string(prefix) + "/" + entry.path;
  }
  return header;
}

Result<std::optional<TarEntry>> TarReader::Next() {
  TRY(SkipContent());
  Extended extended;
  bool is_extended = false;
  while (!ended_) {
    std::array<char, kTarBlock> block;
    ASSIGN(bool more, ReadBlock(block));
    if (!more || IsZero(block)) {
      if (is_extended) return Invalid("it ends behind an extended header");
      ended_ = true;
      break;
    }
    ASSIGN(Header header, ParseHeader(block));
    TarEntry& entry = header.entry;
    if (header.type == 'x' || header.type == 'g' || header.type == 'L' || header.type == 'K') {
      ASSIGN(std::string text, ReadExtension(entry.size));
      if (header.type == 'L') extended.path = std::string(Text(text));
      if (header.type == 'K') extended.link = std::string(Text(text));
      if (header.type == 'x' || header.type == 'g') TRY(extended.Take(text, header.type == 'g'));
      is_extended = is_extended || header.type != 'g';
      continue;
    }
    if (extended.path) entry.path = *extended.path;
    if (extended.link) entry.link = *extended.link;
    entry.size = extended.size.value_or(entry.size);
    entry.mtime = extended.mtime.value_or(entry.mtime);
    ASSIGN(entry.uid, Small(extended.uid.value_or(entry.uid)));
    ASSIGN(entry.gid, Small(extended.gid.value_or(entry.gid)));
    bool names_dir = entry.path.ends_with('/');
    switch (header.type) {
      case '0':
      case '\0':
      case '7':
        // Before POSIX a directory was a file with a slash behind its name.
        entry.type = names_dir ? TarType::kDirectory : TarType::kFile;
        break;
      case '1':
        entry.type = TarType::kHardLink;
        break;
      case '2':
        entry.type = TarType::kSymlink;
        break;
      case '5':
        entry.type = TarType::kDirectory;
        break;
      case '6':
        entry.type = TarType::kFifo;
        break;
      case '3':
      case '4':
        return Invalid(entry.path.substr(0, 200) + " is a device");
      default:
        return Invalid(entry.path.substr(0, 200) + " is of an unknown type");
    }
    if (entry.size > kMostSize) return Invalid("a file is too large");
    // Whatever it is, what stands behind its header is that long.
    left_ = entry.size;
    padding_ = TarPadding(entry.size);
    if (entry.type != TarType::kFile && left_ > 0) return Invalid("content of what has none");
    ASSIGN(entry.path, CleanTarPath(entry.path));
    if (entry.path.empty() && entry.type != TarType::kDirectory) return Invalid("an empty name");
    if (entry.type == TarType::kHardLink) {
      ASSIGN(entry.link, CleanTarPath(entry.link));
    }
    return std::move(entry);
  }
  return std::nullopt;
}

Result<std::string> CleanTarPath(std::string_view name) {
  if (name.starts_with('/')) return Invalid("an absolute name");
  if (name.find('\0') != std::string_view::npos) return Invalid("a NUL in a name");
  if (name.size() > kMaxPath) return Invalid("a name is too long");
  std::string clean;
  while (!name.empty()) {
    size_t end = std::min(name.find('/'), name.size());
    std::string_view part = name.substr(0, end);
    name.remove_prefix(std::min(end + 1, name.size()));
    if (part == "..") return Invalid("a name leads out of the directory");
    if (part.size() > kMaxName) return Invalid("a name is too long");
    if (part.empty() || part == ".") continue;
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

bool TarLinkStaysInside(std::string_view path, std::string_view target) {
  if (target.empty() || target.starts_with('/')) return false;
  auto depth = std::ranges::count(path, '/');
  while (!target.empty()) {
    size_t end = std::min(target.find('/'), target.size());
    std::string_view part = target.substr(0, end);
    target.remove_prefix(std::min(end + 1, target.size()));
    if (part == "..") {
      if (--depth < 0) return false;
    } else if (!part.empty() && part != ".") {
      ++depth;
    }
  }
  return true;
}

}  // namespace atl::protocol
