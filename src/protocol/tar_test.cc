// SPDX-License-Identifier: Apache-2.0
#include "protocol/tar.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace atl::protocol {
namespace {

struct Read {
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;
  std::string reason;  // of the failure, if there was one
};

Read ReadAll(std::string bytes) {
  std::string_view rest = bytes;
  TarReader reader([&](std::span<char> buffer) -> Result<size_t> {
    size_t count = std::min(buffer.size(), rest.size());
    std::memcpy(buffer.data(), rest.data(), count);
    rest.remove_prefix(count);
    return count;
  });
  Read read;
  while (true) {
    auto entry = reader.Next();
    if (!entry) {
      read.reason = entry.error().reason;
      return read;
    }
    if (!*entry) return read;
    std::string content((**entry).size, '\0');
    auto count = reader.Read(content);
    if (!count || *count < content.size()) {
      read.reason = count ? "short" : count.error().reason;
      return read;
    }
    read.entries.push_back(**entry);
    read.contents.push_back(content);
  }
}

std::string With(const TarEntry& entry, std::string_view content = {}) {
  std::string bytes = TarHeader(entry);
  bytes += content;
  bytes.append(TarPadding(content.size()), '\0');
  return bytes;
}

TEST(TarTest, WhatIsWrittenIsRead) {
  std::string deep = "d";
  while (deep.size() < 3000) deep += "/" + std::string(100, 'x');
  TarEntry file{.path = "a", .mode = 04755, .uid = 1000, .gid = 3'000'000, .mtime = 77, .size = 3};
  TarEntry far{.path = deep, .size = 600};
  TarEntry link{.type = TarType::kSymlink, .path = "l", .link = deep};
  TarEntry hard{.type = TarType::kHardLink, .path = "h", .link = deep};
  TarEntry dir{.type = TarType::kDirectory, .path = ""};
  std::string bytes = With(dir) + With(file, "abc") + With(far, std::string(600, 'y')) +
                      With(link) + With(hard) + std::string(kTarEnd, '\0');
  Read read = ReadAll(bytes);
  EXPECT_EQ(read.reason, "");
  ASSERT_EQ(read.entries.size(), 5U);
  EXPECT_EQ(read.entries[0].path, "");
  EXPECT_EQ(read.entries[0].type, TarType::kDirectory);
  EXPECT_EQ(read.entries[1].path, "a");
  EXPECT_EQ(read.entries[1].mode, 04755U);
  EXPECT_EQ(read.entries[1].gid, 3'000'000U);
  EXPECT_EQ(read.entries[1].mtime, 77);
  EXPECT_EQ(read.contents[1], "abc");
  EXPECT_EQ(read.entries[2].path, deep);
  EXPECT_EQ(read.contents[2], std::string(600, 'y'));
  EXPECT_EQ(read.entries[3].link, deep);
  EXPECT_EQ(read.entries[4].link, deep);
}

TEST(TarTest, LargeSizesTravelInAnExtendedHeader) {
  TarEntry entry{.path = "huge", .size = uint64_t{1} << 40U};
  std::string bytes = TarHeader(entry);
  std::string_view rest = bytes;
  TarReader reader([&](std::span<char> buffer) -> Result<size_t> {
    size_t count = std::min(buffer.size(), rest.size());
    std::memcpy(buffer.data(), rest.data(), count);
    rest.remove_prefix(count);
    return count;
  });
  auto read = reader.Next();
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((**read).size, uint64_t{1} << 40U);
}

TEST(TarTest, EveryCutIsNoticed) {
  std::string bytes = With({.path = std::string(200, 'n'), .size = 700}, std::string(700, 'c'));
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    Read read = ReadAll(bytes.substr(0, cut));
    EXPECT_EQ(read.reason, "INVALID_ARCHIVE") << cut;
  }
}

TEST(TarTest, EveryChangedBitOfAHeaderIsNoticedOrMeansNothing) {
  std::string bytes = With({.path = "name", .size = 3}, "abc");
  for (size_t bit = 0; bit < kTarBlock * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    Read read = ReadAll(changed);
    if (read.reason.empty()) {
      ASSERT_EQ(read.entries.size(), 1U);
      EXPECT_EQ(read.entries[0].path, "name");
    }
  }
}

TEST(TarTest, NamesThatLeadOutAreNone) {
  for (const char* name : {"/a", "..", "a/../..", "a/..", "../a", "//a"}) {
    EXPECT_FALSE(CleanTarPath(name)) << name;
  }
  EXPECT_EQ(*CleanTarPath("./a//b/./c/"), "a/b/c");
  EXPECT_EQ(*CleanTarPath("./"), "");
  EXPECT_FALSE(CleanTarPath(std::string(300, 'x')));
}

TEST(TarTest, LinksStayInsideOrNot) {
  EXPECT_TRUE(TarLinkStaysInside("a", "b"));
  EXPECT_TRUE(TarLinkStaysInside("a/b/c", "../../d"));
  EXPECT_TRUE(TarLinkStaysInside("a/b", "../b/../a"));
  EXPECT_FALSE(TarLinkStaysInside("a", ".."));
  EXPECT_FALSE(TarLinkStaysInside("a/b", "../../c"));
  EXPECT_FALSE(TarLinkStaysInside("a/b", "c/../../../a"));
  EXPECT_FALSE(TarLinkStaysInside("a", "/etc"));
  EXPECT_FALSE(TarLinkStaysInside("a", ""));
}

}  // namespace
}  // namespace atl::protocol
