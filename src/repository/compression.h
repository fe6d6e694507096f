// SPDX-License-Identifier: Apache-2.0
// zstd as a repository uses it. Contexts are kept by threads: making one costs more than
// compressing a small blob.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::repository {

using PieceSink = std::function<Result<void>(std::string_view piece)>;

// Appends a frame of level 1 with the length of its content to `out`. False, and nothing appended,
// when it would be longer than `limit` bytes.
bool AppendCompressed(std::string_view plain, size_t limit, std::string& out);

// Appends exactly `plain_bytes` to `out`. REPOSITORY_CORRUPT otherwise.
Result<void> AppendDecompressed(std::string_view frames, size_t plain_bytes, std::string& out);

// Of a length that is not known. REPOSITORY_CORRUPT past `limit`.
Result<std::string> Decompress(std::string_view frames, size_t limit);

// Content that comes in pieces, to a frame.
class StreamCompressor {
 public:
  StreamCompressor();
  ~StreamCompressor();
  StreamCompressor(const StreamCompressor&) = delete;
  StreamCompressor& operator=(const StreamCompressor&) = delete;
  void Append(std::string_view piece, std::string& out);
  void Finish(std::string& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Frames that come in pieces. What it gives is not bounded; the sink has to.
class StreamDecompressor {
 public:
  explicit StreamDecompressor(PieceSink sink);
  ~StreamDecompressor();
  StreamDecompressor(const StreamDecompressor&) = delete;
  StreamDecompressor& operator=(const StreamDecompressor&) = delete;
  Result<void> Append(std::string_view piece);
  Result<void> Finish();  // REPOSITORY_CORRUPT in the middle of a frame

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::repository
