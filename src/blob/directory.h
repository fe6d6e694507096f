// SPDX-License-Identifier: Apache-2.0
// Blobs as files of one directory. A blob appears whole or not at all, and is durable once Commit
// has returned. Everything here blocks: call it from the blocking pool.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::blob {

// A blob that is being written under a temporary name. Destroying it before Commit removes it.
class Upload {
 public:
  Upload(Upload&& other) noexcept = default;
  Upload& operator=(Upload&&) = delete;
  ~Upload();

  Result<void> Write(std::string_view data);
  // kAlreadyExists when a blob has that name.
  Result<void> Commit(const std::string& name);
  uint64_t size() const { return size_; }

 private:
  friend class Directory;
  Upload(std::shared_ptr<const sys::Fd> directory, std::string temporary, sys::Fd file)
      : directory_(std::move(directory)),
        temporary_(std::move(temporary)),
        file_(std::move(file)) {}

  std::shared_ptr<const sys::Fd> directory_;
  std::string temporary_;
  sys::Fd file_;  // empty: committed or moved from
  uint64_t size_ = 0;
};

class Download {
 public:
  // 0 at the end.
  Result<size_t> Read(std::span<char> buffer);
  uint64_t size() const { return size_; }

 private:
  friend class Directory;
  Download(sys::Fd file, uint64_t size) : file_(std::move(file)), size_(size) {}
  sys::Fd file_;
  uint64_t size_;
};

class Directory {
 public:
  // Makes the directory (0700) and removes temporaries that a killed process left: one process at a
  // time may have it open.
  static Result<Directory> Open(const std::string& path);

  Result<Upload> Put() const;
  Result<Download> Get(const std::string& name) const;  // kNotFound
  // A small blob at once.
  Result<std::string> Read(const std::string& name, size_t limit) const;
  // The names that end in `suffix`, in no order.
  Result<std::vector<std::string>> List(std::string_view suffix = {}) const;
  // One that is missing is fine.
  Result<void> Remove(const std::string& name) const;

 private:
  explicit Directory(sys::Fd directory)
      : directory_(std::make_shared<const sys::Fd>(std::move(directory))) {}
  std::shared_ptr<const sys::Fd> directory_;
};

// [a-zA-Z0-9][a-zA-Z0-9._-]{0,199}
bool IsBlobName(std::string_view name);

}  // namespace atl::blob
