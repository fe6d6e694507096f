// SPDX-License-Identifier: Apache-2.0
// Where snapshots of a directory go and come from. The format behind it can change; callers see a
// tar stream and an id.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/runtime.h"
#include "base/result.h"

namespace atl::snapshot {

struct Meta {
  std::string snapshot_id;  // 64 lowercase hex characters
  std::string sandbox;      // the public id
  std::string dir;
  std::string name;
  int64_t created_at_ms = 0;
  uint64_t bytes = 0;   // of the tar stream
  uint64_t stored = 0;  // in the store
  uint64_t files = 0;
};

// A snapshot being written. Destroying it before Commit leaves nothing behind.
class Writer {
 public:
  virtual ~Writer() = default;
  virtual async::Task<Result<void>> Write(std::string_view tar) = 0;
  // Durable when it returns. Fills snapshot_id, created_at_ms, bytes, stored.
  virtual async::Task<Result<Meta>> Commit(Meta meta) = 0;
};

class Reader {
 public:
  virtual ~Reader() = default;
  virtual const Meta& meta() const = 0;
  // The next piece, valid until the next call; empty at the end, when the whole stream has been
  // verified against its recorded size and hash.
  virtual async::Task<Result<std::string_view>> Next() = 0;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual async::Task<Result<std::unique_ptr<Writer>>> Create() = 0;
  // kNotFound (BACKUP_NOT_FOUND); kInvalidArgument for an id of the wrong shape.
  virtual async::Task<Result<std::unique_ptr<Reader>>> Open(std::string snapshot_id) = 0;
  // Of one sandbox, newest first.
  virtual async::Task<Result<std::vector<Meta>>> List(std::string sandbox) = 0;

  // Objects and metadata in a directory. Removes temporaries of an earlier daemon.
  static Result<std::unique_ptr<Store>> OpenDirectory(async::Runtime& runtime, std::string dir);
};

}  // namespace atl::snapshot
