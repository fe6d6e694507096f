// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "blob/store.h"
#include "repository/lock_owner.h"
#include "repository/memory_store.h"
#include "repository/repository.h"
#include "repository/repository_impl.h"

namespace atl::repository {

// A directory of the test's own.
class TestDir {
 public:
  TestDir() {
    std::string path = std::filesystem::temp_directory_path() / "repository-XXXXXX";
    path_ = ::mkdtemp(path.data());
  }
  ~TestDir() { std::filesystem::remove_all(path_); }
  TestDir(const TestDir&) = delete;
  TestDir& operator=(const TestDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Options TestOptions() {
  Options options;
  options.password = "correct horse";
  options.scrypt = {.n = 1024, .r = 8, .p = 1};
  options.lock_wait = std::chrono::milliseconds(300);
  return options;
}

inline LockTimes TestTimes() {
  LockTimes times;
  times.wait = std::chrono::milliseconds(300);
  return times;
}

template <class T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
inline void Must(Result<void> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

inline std::unique_ptr<Repository> MustOpen(const std::shared_ptr<blob::Store>& store,
                                            LockTimes times = TestTimes(),
                                            Options options = TestOptions()) {
  return Must(OpenRepository(store, std::move(options), times));
}

inline std::shared_ptr<MemoryStore> NewStore(bool remote = false) {
  auto store = std::make_shared<MemoryStore>(remote);
  Must(Repository::Init(*store, TestOptions()));
  return store;
}

// Does not compress.
inline std::string RandomBytes(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(random());
  return bytes;
}

inline BlobHandle SaveBlob(Repository& repository, std::string_view data,
                           BlobType type = BlobType::kData) {
  const auto lock = Must(repository.LockShared());
  auto session = Must(repository.Begin());
  const auto saved = Must(session->Save(type, data));
  Must(session->Flush());
  return {.type = type, .id = saved.id};
}

inline SnapshotRecord NewRecord(const Id& tree, std::vector<std::string> tags = {}) {
  SnapshotRecord record;
  record.time = Now();
  record.tree = tree;
  record.paths = {"/workspace"};
  record.hostname = HostName();
  record.username = UserName();
  record.tags = std::move(tags);
  record.program_version = "test";
  return record;
}

}  // namespace atl::repository
