// SPDX-License-Identifier: Apache-2.0
// What the tests of archives and of restores share.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "agent/agent_fixture_test.h"

namespace atl::agent {

namespace fs = std::filesystem;

// A ustar entry made by hand: what a hostile daemon or store could hand in.
inline std::string TarEntry(const std::string& name, char type, const std::string& content = {},
                            const std::string& link = {}) {
  std::array<char, 512> block{};
  name.copy(block.data(), 100);
  std::snprintf(block.data() + 100, 8, "%07o", type == '5' ? 0755 : 0644);
  std::snprintf(block.data() + 108, 8, "%07o", geteuid());
  std::snprintf(block.data() + 116, 8, "%07o", getegid());
  std::snprintf(block.data() + 124, 12, "%011zo", content.size());
  std::snprintf(block.data() + 136, 12, "%011o", 1'700'000'000);
  block[156] = type;
  link.copy(block.data() + 157, 100);
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  std::memset(block.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (char byte : block) sum += static_cast<unsigned char>(byte);
  std::snprintf(block.data() + 148, 8, "%06o", sum);
  std::string entry(block.data(), block.size());
  entry += content;
  entry.resize((entry.size() + 511) / 512 * 512, '\0');
  return entry;
}

inline std::string Archive(const std::string& entries) {
  return TarEntry("./", '5') + entries + std::string(1024, '\0');
}

class TarTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    work_ = dir_ / "work";
    outside_ = dir_ / "outside";
    fs::create_directory(work_);
    fs::create_directory(outside_);
  }

  Outcome Out(const std::string& dir) {
    Client client(Connect());
    client.Send(protocol::TarOut{.dir = dir});
    return Collect(&client);
  }
  Outcome In(const std::string& dir, const std::string& tar, bool finish = true) {
    Client client(Connect());
    client.Send(protocol::TarIn{.dir = dir});
    for (size_t at = 0; at < tar.size(); at += 300'000) {
      auto sent = client.SendData(FrameType::kTar, std::string_view(tar).substr(at, 300'000));
      if (!sent) break;
    }
    if (!finish) {
      client.Close();
      return {};
    }
    client.SendEmpty(FrameType::kTarEnd);
    return Collect(&client);
  }

  // Everything about a tree that must survive, as text.
  std::string Describe(const fs::path& root) {
    std::map<std::string, std::string> lines;
    std::map<ino_t, std::string> first;
    auto add = [&](const fs::path& path, const std::string& name) {
      struct stat st{};
      lstat(path.c_str(), &st);
      std::string line = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + " " +
                         std::to_string(st.st_gid) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                         std::to_string(st.st_mtim.tv_nsec);
      if (S_ISLNK(st.st_mode)) line += " -> " + fs::read_symlink(path).string();
      if (S_ISREG(st.st_mode)) {
        line += " " + std::to_string(std::hash<std::string>()(Slurp(path)));
      }
      lines[name] = line;
    };
    add(root, ".");
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      add(entry.path(), fs::relative(entry.path(), root).string());
    }
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      struct stat st{};
      lstat(entry.path().c_str(), &st);
      std::string name = fs::relative(entry.path(), root).string();
      if (S_ISDIR(st.st_mode) || st.st_nlink < 2) continue;
      std::string& holder = first[st.st_ino];
      if (holder.empty() || name < holder) holder = name;
    }
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      struct stat st{};
      lstat(entry.path().c_str(), &st);
      if (S_ISDIR(st.st_mode) || st.st_nlink < 2) continue;
      lines[fs::relative(entry.path(), root).string()] += " = " + first[st.st_ino];
    }
    std::string text;
    for (const auto& [name, line] : lines) text += name + ": " + line + "\n";
    return text;
  }

  static void Write(const fs::path& path, const std::string& content) {
    std::ofstream(path) << content;
  }

  void MakeTree() {
    fs::create_directories(work_ / "a" / "b" / "c");
    fs::create_directory(work_ / "empty");
    Write(work_ / "hello", "hello\n");
    Write(work_ / "a" / "b" / "large", std::string(3'000'001, 'L'));
    Write(work_ / "a" / "nothing", "");
    Write(work_ / "caf\xc3\xa9 \xff name", "bytes");
    std::string deep(120, 'n');
    fs::create_directories(work_ / deep / deep / deep);
    Write(work_ / deep / deep / deep / "leaf", "leaf");
    fs::create_hard_link(work_ / "hello", work_ / "a" / "same");
    fs::create_symlink("../../etc/passwd", work_ / "a" / "link");
    fs::create_symlink("/nowhere", work_ / "dangling");
    mkfifo((work_ / "fifo").c_str(), 0600);
    chmod((work_ / "hello").c_str(), 04751);
    chmod((work_ / "a" / "b").c_str(), 01700);
    chmod((work_ / "empty").c_str(), 0555);
    if (geteuid() == 0) {
      ASSERT_EQ(chown((work_ / "a" / "nothing").c_str(), 1234, 4321), 0);
      ASSERT_EQ(lchown((work_ / "dangling").c_str(), 7, 8), 0);
    }
    timespec times[2] = {{1'600'000'000, 1}, {1'600'000'000, 123'456'789}};
    utimensat(AT_FDCWD, (work_ / "a").c_str(), times, 0);
    utimensat(AT_FDCWD, (work_ / "dangling").c_str(), times, AT_SYMLINK_NOFOLLOW);
    utimensat(AT_FDCWD, work_.c_str(), times, 0);
  }

  fs::path work_;
  fs::path outside_;
};

}  // namespace atl::agent
