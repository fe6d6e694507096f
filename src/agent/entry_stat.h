// SPDX-License-Identifier: Apache-2.0
// What statx and the extended attributes say of an entry, as snapshots want to know it.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "protocol/tree.h"

namespace atl::agent {

inline constexpr unsigned kEntryStatMask = STATX_BASIC_STATS | STATX_MNT_ID;

// Everything but name, attributes and link target.
protocol::TreeEntry ToEntry(const struct statx& st);

using Xattrs = std::vector<std::pair<std::string, std::string>>;

// Reads extended attributes, most often none at the price of one call. Both return 0 or an errno;
// attributes that vanish or cannot be read are left out.
class XattrReader {
 public:
  // Of an entry of the working directory; a symlink's own.
  int ReadAt(const char* name, Xattrs* xattrs);
  int ReadFd(int fd, Xattrs* xattrs);

 private:
  template <class List, class Get>
  int Read(const List& list, const Get& get, Xattrs* xattrs);
  char* Large();

  std::unique_ptr<char[]> names_;
  std::unique_ptr<char[]> large_;
};

}  // namespace atl::agent
