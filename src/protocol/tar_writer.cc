// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "protocol/tar.h"

namespace atl::protocol {
namespace {

constexpr size_t kNameBytes = 100;
constexpr uint64_t kMaxId = 07777777;
constexpr uint64_t kMaxSize = 077777777777;

char TypeFlag(TarType type) {
  switch (type) {
    case TarType::kFile:
      return '0';
    case TarType::kDirectory:
      return '5';
    case TarType::kSymlink:
      return '2';
    case TarType::kHardLink:
      return '1';
    case TarType::kFifo:
      return '6';
  }
  return '0';
}

// Octal with leading zeros and a NUL at the end.
void PutNumber(std::string& block, size_t at, size_t width, uint64_t value) {
  for (size_t i = width - 1; i-- > 0; value >>= 3U) {
    block[at + i] = static_cast<char>('0' + (value & 7U));
  }
}

void PutText(std::string& block, size_t at, size_t width, std::string_view text) {
  text = text.substr(0, width);
  std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
}

std::string Block(const TarEntry& entry, std::string_view path, char type, uint64_t size) {
  std::string block(kTarBlock, '\0');
  PutText(block, 0, kNameBytes, path);
  PutNumber(block, 100, 8, entry.mode & 07777U);
  PutNumber(block, 108, 8, std::min<uint64_t>(entry.uid, kMaxId));
  PutNumber(block, 116, 8, std::min<uint64_t>(entry.gid, kMaxId));
  PutNumber(block, 124, 12, std::min(size, kMaxSize));
  uint64_t mtime = entry.mtime < 0 ? 0 : static_cast<uint64_t>(entry.mtime);
  PutNumber(block, 136, 12, std::min(mtime, kMaxSize));
  block[156] = type;
  PutText(block, 157, kNameBytes, entry.link);
  PutText(block, 257, 8, std::string_view("ustar\00000", 8));
  PutText(block, 148, 8, "        ");
  uint64_t sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  PutNumber(block, 148, 7, sum);
  block[154] = '\0';
  return block;
}

// The length counts its own digits.
void AddRecord(std::string& records, std::string_view key, std::string_view value) {
  size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (length != rest + std::to_string(length).size()) {
    length = rest + std::to_string(length).size();
  }
  records += std::to_string(length);
  records += ' ';
  records += key;
  records += '=';
  records += value;
  records += '\n';
}

}  // namespace

std::string TarHeader(const TarEntry& entry) {
  std::string path = "./" + entry.path;
  if (entry.type == TarType::kDirectory && !path.ends_with('/')) path += '/';
  TarEntry shown = entry;
  if (entry.type == TarType::kHardLink) shown.link = "./" + entry.link;
  std::string records;
  if (path.size() > kNameBytes) AddRecord(records, "path", path);
  if (shown.link.size() > kNameBytes) AddRecord(records, "linkpath", shown.link);
  if (entry.size > kMaxSize) AddRecord(records, "size", std::to_string(entry.size));
  if (entry.uid > kMaxId) AddRecord(records, "uid", std::to_string(entry.uid));
  if (entry.gid > kMaxId) AddRecord(records, "gid", std::to_string(entry.gid));
  std::string header;
  if (!records.empty()) {
    TarEntry extended{.mode = 0644, .mtime = entry.mtime};
    header = Block(extended, "./PaxHeaders/extended", 'x', records.size());
    header += records;
    header.append(TarPadding(records.size()), '\0');
  }
  header += Block(shown, path, TypeFlag(entry.type), entry.size);
  return header;
}

}  // namespace atl::protocol
