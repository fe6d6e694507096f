// SPDX-License-Identifier: Apache-2.0
// A directory that a real agent serves, a repository in files beside it, and restic to check it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "agent/agent_fixture_test.h"
#include "blob/files.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/backup.h"

namespace atl::snapshot {

namespace fs = std::filesystem;

inline void Write(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

// Bytes that do not compress.
inline std::string Noise(size_t size, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::string data(size + 8, '\0');
  for (size_t at = 0; at < size; at += 8) {
    uint64_t word = generator();
    data.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
  }
  data.resize(size);
  return data;
}

// Everything that a snapshot keeps of what is below a directory. Throws fs::filesystem_error where
// something goes away meanwhile.
inline std::map<std::string, std::string> Manifest(const fs::path& dir) {
  std::map<std::string, std::string> manifest;
  auto describe = [&](const fs::path& path) {
    struct stat st{};
    if (lstat(path.c_str(), &st) != 0) {
      throw fs::filesystem_error("lstat", path, std::error_code(errno, std::generic_category()));
    }
    std::string text = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + ":" +
                       std::to_string(st.st_gid) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                       std::to_string(st.st_mtim.tv_nsec);
    if (!S_ISDIR(st.st_mode)) text += " links " + std::to_string(st.st_nlink);
    if (S_ISLNK(st.st_mode)) text += " -> " + fs::read_symlink(path).string();
    if (S_ISREG(st.st_mode)) {
      text += " size " + std::to_string(st.st_size);
      if (st.st_size < 64 << 20) text += " " + repository::Hash(agent::Slurp(path)).Hex();
    }
    char names[4096];
    ssize_t size = llistxattr(path.c_str(), names, sizeof(names));
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
      char value[4096];
      ssize_t length = lgetxattr(path.c_str(), names + at, value, sizeof(value));
      text +=
          std::string(" ") + (names + at) + "=" + std::string(value, std::max<ssize_t>(0, length));
    }
    manifest[fs::relative(path, dir).string()] = text;
  };
  describe(dir);
  for (const auto& entry : fs::recursive_directory_iterator(dir)) describe(entry.path());
  return manifest;
}

class BackupTest : public agent::AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    work_ = dir_ / "work";
    fs::create_directory(work_);
    password_ = dir_ / "password";
    Write(password_, "secret\n");
    repository_dir_ = dir_ / "repository";
    auto store = blob::OpenFiles(repository_dir_);
    ASSERT_TRUE(store) << store.error().message;
    store_ = *store;
    repository::Options options{.password = "secret", .scrypt = {.n = 1024, .r = 8, .p = 1}};
    auto made = repository::Repository::Init(*store_, options);
    ASSERT_TRUE(made) << made.error().message;
    Open();
  }
  void TearDown() override {
    repository_.reset();
    AgentTest::TearDown();
  }

  void Open() {
    repository_.reset();
    auto opened = repository::Repository::Open(store_, {.password = "secret"});
    ASSERT_TRUE(opened) << opened.error().message;
    repository_ = *std::move(opened);
  }

  BackupOptions Options() const {
    BackupOptions options{.dir = work_};
    options.tags.sandbox = "demo";
    options.tags.dir = work_;
    return options;
  }
  Result<BackupResult> Try(const BackupOptions& options) {
    AgentTree tree([this]() -> Result<sys::Fd> { return Connect(); });
    return Backup(*repository_, tree, options);
  }
  // What was written less than a tick of the clock before a snapshot is read again by the next one.
  static void PassTick() { std::this_thread::sleep_for(std::chrono::milliseconds(25)); }
  BackupResult Take(const BackupOptions& options) {
    PassTick();
    auto result = Try(options);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *std::move(result) : BackupResult();
  }
  BackupResult Take() { return Take(Options()); }

  static bool HasRestic() { return std::system("restic version >/dev/null 2>&1") == 0; }
  int Restic(const std::string& arguments) const {
    std::string command = "RESTIC_PASSWORD_FILE='" + password_.string() +
                          "' restic -q --no-cache -r '" + repository_dir_.string() + "' " +
                          arguments + " >'" + (dir_ / "restic.log").string() + "' 2>&1";
    return std::system(command.c_str());
  }
  std::string ResticLog() const { return agent::Slurp(dir_ / "restic.log"); }
  void CheckWithRestic() const { EXPECT_EQ(Restic("check --read-data"), 0) << ResticLog(); }
  // Where the directory's content is now.
  fs::path RestoreWithRestic(const std::string& snapshot = "latest") {
    fs::path target = dir_ / ("restored" + std::to_string(++restored_));
    EXPECT_EQ(Restic("restore " + snapshot + " --target '" + target.string() + "'"), 0)
        << ResticLog();
    return target / work_.relative_path();
  }

  fs::path work_;
  fs::path password_;
  fs::path repository_dir_;
  std::shared_ptr<blob::Store> store_;
  std::unique_ptr<repository::Repository> repository_;
  int restored_ = 0;
};

}  // namespace atl::snapshot
