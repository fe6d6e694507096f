// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/sysmacros.h>

#include "snapshot/backup_fixture_test.h"
#include "snapshot/restore.h"

namespace atl::snapshot {

class RestoreTest : public BackupTest {
 protected:
  AgentTree Tree() {
    return AgentTree([this]() -> Result<sys::Fd> { return Connect(); });
  }
  Result<RestoreResult> TryRestore(const repository::SnapshotRecord& record,
                                   const RestoreOptions& options = {}) {
    AgentTree tree = Tree();
    return Restore(*repository_, record, tree, options);
  }
  RestoreResult Bring(const repository::SnapshotRecord& record,
                      const RestoreOptions& options = {}) {
    auto result = TryRestore(record, options);
    EXPECT_TRUE(result) << result.error().message;
    EXPECT_TRUE(NoTraces());
    return result ? *std::move(result) : RestoreResult();
  }

  // Nothing of the agent's own is left beside the content.
  bool NoTraces() const {
    if (!fs::exists(work_)) return true;
    for (const auto& entry : fs::directory_iterator(work_)) {
      if (entry.path().filename().string().starts_with(".atoll-")) return false;
    }
    return true;
  }

  static uint64_t Inode(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st.st_ino;
  }
  static uint64_t Blocks(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  // A bit of everything.
  void MakeTree() const {
    fs::create_directories(work_ / "src" / "deep" / "er");
    fs::create_directories(work_ / "empty");
    for (int i = 0; i < 30; ++i) {
      Write(work_ / "src" / ("file" + std::to_string(i)), Noise(100 + 200 * i, i));
    }
    Write(work_ / "src" / "deep" / "er" / "x", "deep");
    Write(work_ / "big", Noise(5 << 20, 99));
    Write(work_ / "nothing", "");
    Write(work_ / "run", "#!/bin/sh\n");
    chmod((work_ / "run").c_str(), 04755);
    chmod((work_ / "src" / "deep").c_str(), 02750);
    EXPECT_EQ(chown((work_ / "src" / "file1").c_str(), 12, 34), 0);
    fs::create_symlink("/etc/passwd", work_ / "outside");
    fs::create_symlink("src/deep", work_ / "to-dir");
    EXPECT_EQ(mkfifo((work_ / "fifo").c_str(), 0640), 0);
    Write(work_ / "name\xff\xfe\n", "not UTF-8");
    Write(work_ / "twin", "twins");
    fs::create_hard_link(work_ / "twin", work_ / "src" / "twin");
    EXPECT_EQ(setxattr((work_ / "run").c_str(), "user.note", "hello", 5, 0), 0);
    timespec times[2] = {{.tv_sec = 1'000'000, .tv_nsec = 123'456'789},
                         {.tv_sec = 1'000'000, .tv_nsec = 123'456'789}};
    utimensat(AT_FDCWD, (work_ / "src" / "file2").c_str(), times, AT_SYMLINK_NOFOLLOW);
    utimensat(AT_FDCWD, (work_ / "outside").c_str(), times, AT_SYMLINK_NOFOLLOW);
    utimensat(AT_FDCWD, (work_ / "empty").c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
};

}  // namespace atl::snapshot
