// SPDX-License-Identifier: Apache-2.0
// Reads one message body from a connection, whatever its framing; shared by server and client.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "async/task.h"
#include "http/framing.h"

namespace atl::http {

// Bytes that were read and not used yet.
class ReadBuffer {
 public:
  std::string_view view() const { return std::string_view(data_).substr(begin_); }
  bool empty() const { return begin_ == data_.size(); }
  void Append(std::string_view bytes);
  void Consume(size_t count);
  std::string Take();

 private:
  std::string data_;
  size_t begin_ = 0;
};

using ReadFunction = std::function<async::Task<Result<size_t>>(std::span<char>)>;

class BodyReader {
 public:
  BodyReader() = default;
  BodyReader(Framing framing, uint64_t content_length) : framing_(framing), left_(content_length) {}

  // At least one byte, or 0 at the end of the body. A connection that ends before the body does is
  // kUnavailable, CONNECTION_CLOSED.
  async::Task<Result<size_t>> Read(ReadBuffer& buffer, const ReadFunction& read,
                                   std::span<char> out);
  // Without waiting: what `buffer` has of a body whose length is known, 0 of any other.
  size_t TakeBuffered(ReadBuffer& buffer, std::span<char> out);
  bool at_end() const;

 private:
  async::Task<Result<size_t>> ReadLength(ReadBuffer& buffer, const ReadFunction& read,
                                         std::span<char> out);
  async::Task<Result<size_t>> ReadChunked(ReadBuffer& buffer, const ReadFunction& read,
                                          std::span<char> out);
  async::Task<Result<size_t>> ReadUntilClose(ReadBuffer& buffer, const ReadFunction& read,
                                             std::span<char> out);

  Framing framing_ = Framing::kNone;
  uint64_t left_ = 0;
  bool closed_ = false;
  ChunkedDecoder decoder_;
};

}  // namespace atl::http
