// SPDX-License-Identifier: Apache-2.0
// Directories of a sandbox as tar archives, plain or compressed by zstd. They are made and unpacked
// inside, by the agent; here bytes pass through.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "async/runtime.h"
#include "async/task.h"
#include "base/result.h"
#include "protocol/archive.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

using protocol::PackFiles;
using protocol::UnpackFiles;

enum class ArchiveFormat { kTar, kTarZstd };

// What was packed or unpacked.
struct ArchiveTotals {
  uint64_t entries = 0;
  uint64_t bytes = 0;    // of file contents
  uint64_t skipped = 0;  // what could not be read, or changed while it was
};

class ArchiveReader {
 public:
  virtual ~ArchiveReader() = default;
  // The next piece, "" at the end. Valid until the next call.
  virtual async::Task<Result<std::string_view>> Next() = 0;
  virtual const ArchiveTotals& totals() const = 0;  // at the end
};

// Takes an archive in. Where the request has no `max_bytes`, what is compressed may become 512 MiB
// and a hundred times of what was sent (FILE_TOO_LARGE).
class ArchiveWriter {
 public:
  virtual ~ArchiveWriter() = default;
  // Which format it is says its beginning. INVALID_ARCHIVE, or why it cannot be unpacked.
  virtual async::Task<Result<void>> Write(std::string_view bytes) = 0;
  virtual async::Task<Result<ArchiveTotals>> Finish() = 0;
};

// `pool`: where bytes are compressed. AGENT_TOO_OLD for a pattern that begins with "./".
async::Task<Result<std::unique_ptr<ArchiveReader>>> Pack(AgentClient& agent,
                                                         async::BlockingPool& pool,
                                                         PackFiles request, ArchiveFormat format);
async::Task<Result<std::unique_ptr<ArchiveWriter>>> Unpack(AgentClient& agent,
                                                           async::BlockingPool& pool,
                                                           UnpackFiles request);

}  // namespace atl::sandbox
