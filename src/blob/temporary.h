// SPDX-License-Identifier: Apache-2.0
// How a file appears whole and durable below a store's directory (files.h).
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::blob {

inline constexpr std::string_view kTemporaries = "tmp";  // the folder of what has no name yet
inline constexpr size_t kFileStep = 4UL << 20U;          // between two looks at the stop token

// A lock tells processes that live now from each other; after a crash it says nothing.
inline bool NeedsSync(std::string_view key) { return !key.starts_with("locks/"); }
// The folder of a path; "." at the top.
std::string FolderOf(std::string_view path);

// The root of a store and what is known about the folders in it.
class Folders {
 public:
  explicit Folders(sys::Fd root) : root_(std::move(root)) {}
  int root() const { return root_.get(); }

  // mkdir -p, each new folder durable in the one above.
  Result<void> Make(const std::string& folder);
  // Somebody has removed a folder.
  void Forget();
  Result<void> Sync(const std::string& folder) const;

 private:
  sys::Fd root_;
  std::mutex mutex_;
  std::set<std::string> known_;  // 256 of data/ and some more
};

// A file below tmp/ until it gets its name. Destroyed before that, it is removed.
class Temporary {
 public:
  static Result<Temporary> Make(std::shared_ptr<Folders> folders);
  Temporary(Temporary&&) = default;
  Temporary& operator=(Temporary&&) = delete;
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() { Discard(); }

  Result<void> Write(std::span<const std::string_view> pieces, const std::stop_token& stop);
  // Durable under its name, in place of what had it.
  Result<void> Commit(const std::string& key);
  void Discard();

 private:
  Temporary(std::shared_ptr<Folders> folders, std::string path, sys::Fd file)
      : folders_(std::move(folders)), path_(std::move(path)), file_(std::move(file)) {}

  std::shared_ptr<Folders> folders_;
  std::string path_;
  sys::Fd file_;
};

}  // namespace atl::blob
