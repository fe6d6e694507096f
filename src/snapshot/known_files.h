// SPDX-License-Identifier: Apache-2.0
// Which content the files in place have, by what only this host can know of them: inode and ctime.
// Kept beside the repository, not in it: with them no two sandboxes would have a tree in common. A
// table that is lost or wrong costs reading files again.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "repository/tree.h"

namespace atl::snapshot {

struct KnownFile {
  uint64_t path = 0;     // hash of the path, relative to the directory
  uint64_t content = 0;  // of its blobs' ids
  uint64_t inode = 0;
  repository::Time ctime;
};

uint64_t HashOfPath(std::string_view path);
uint64_t HashOfContent(const std::vector<repository::Id>& content);

// The files of one directory of one sandbox. Of a file that changed in the same tick of the clock
// in which it was looked at, nothing is known.
class KnownFiles {
 public:
  // Sorts; where two paths have one hash neither is known.
  explicit KnownFiles(std::vector<KnownFile> files);
  bool Has(std::string_view path, const std::vector<repository::Id>& content, uint64_t inode,
           const repository::Time& ctime) const;
  size_t bytes() const { return files_.size() * sizeof(KnownFile); }
  std::string Encode() const;
  static std::shared_ptr<const KnownFiles> Decode(std::string_view text);  // null: damaged

 private:
  std::vector<KnownFile> files_;
};

class KnownFilesStore {
 public:
  using Table = std::shared_ptr<const KnownFiles>;

  // `directory`: where tables are kept over a restart; empty: nowhere. In memory at most `limit`
  // bytes, those used last.
  explicit KnownFilesStore(std::string directory = {}, size_t limit = 64U << 20U)
      : directory_(std::move(directory)), limit_(limit) {}
  // `owner`: the sandbox, in whatever words tell it from others.
  Table Get(const std::string& owner, const std::string& dir);
  void Put(const std::string& owner, const std::string& dir, Table table);
  void Forget(const std::string& owner);

  // For those who were given none: in memory alone.
  static KnownFilesStore& OfProcess();

 private:
  struct Entry {
    std::string name;
    Table table;
  };
  void Remember(const std::string& name, Table table);

  std::string directory_;
  size_t limit_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last first
  size_t bytes_ = 0;
};

}  // namespace atl::snapshot
