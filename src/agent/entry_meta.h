// SPDX-License-Identifier: Apache-2.0
// Owner, mode, extended attributes and times of an entry as a snapshot has them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "protocol/tree.h"

namespace atl::agent {

// How much could not be set because the sandbox may not: owners outside its ids, attributes such as
// security.capability.
struct MetaRefusals {
  uint64_t count = 0;
};

// What is known of the open file, to save calls.
struct MetaHints {
  bool fresh = false;  // just made with the permission bits of `meta` and no attributes
  bool owned = false;  // and with its owner and group
};

// Of an open regular file or directory (not O_PATH). Times come last.
Result<void> SetMeta(int fd, const protocol::EntryMeta& meta, MetaHints hints,
                     MetaRefusals* refusals);
// Of any entry by name, following no symlink; attributes only where a descriptor can be had.
Result<void> SetMetaAt(int dir, const std::string& name, const protocol::EntryMeta& meta,
                       MetaRefusals* refusals);

timespec ToTimespec(const protocol::Timestamp& time);

}  // namespace atl::agent
