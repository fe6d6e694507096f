// SPDX-License-Identifier: Apache-2.0
#include "http/body.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace atl::http {
namespace {

constexpr size_t kReadSize = 32UL * 1024;

Unexpected ClosedEarly() {
  return Fail(Code::kUnavailable, "the connection was closed in the middle of a message body",
              "CONNECTION_CLOSED");
}

size_t CopyOut(ReadBuffer& buffer, std::span<char> out) {
  size_t count = std::min(buffer.view().size(), out.size());
  std::memcpy(out.data(), buffer.view().data(), count);
  buffer.Consume(count);
  return count;
}

}  // namespace

void ReadBuffer::Append(std::string_view bytes) {
  if (begin_ > 0) {
    data_.erase(0, begin_);
    begin_ = 0;
  }
  data_ += bytes;
}

void ReadBuffer::Consume(size_t count) {
  begin_ += count;
  if (begin_ == data_.size()) {
    data_.clear();
    begin_ = 0;
  }
}

std::string ReadBuffer::Take() {
  std::string rest(view());
  data_.clear();
  begin_ = 0;
  return rest;
}

bool BodyReader::at_end() const {
  switch (framing_) {
    case Framing::kNone:
      return true;
    case Framing::kLength:
      return left_ == 0;
    case Framing::kChunked:
      return decoder_.done();
    case Framing::kUntilClose:
      return closed_;
  }
  return true;
}

async::Task<Result<size_t>> BodyReader::Read(ReadBuffer& buffer, const ReadFunction& read,
                                             std::span<char> out) {
  if (at_end() || out.empty()) co_return 0UL;
  if (framing_ == Framing::kLength) {
    Result<size_t> n = co_await ReadLength(buffer, read, out);
    co_return n;
  }
  if (framing_ == Framing::kChunked) {
    Result<size_t> n = co_await ReadChunked(buffer, read, out);
    co_return n;
  }
  Result<size_t> n = co_await ReadUntilClose(buffer, read, out);
  co_return n;
}

size_t BodyReader::TakeBuffered(ReadBuffer& buffer, std::span<char> out) {
  if (framing_ != Framing::kLength) return 0;
  size_t count = CopyOut(buffer, out.first(std::min<uint64_t>(left_, out.size())));
  left_ -= count;
  return count;
}

async::Task<Result<size_t>> BodyReader::ReadLength(ReadBuffer& buffer, const ReadFunction& read,
                                                   std::span<char> out) {
  size_t count = TakeBuffered(buffer, out);
  if (count > 0) co_return count;
  CO_ASSIGN(count, co_await read(out.first(std::min<uint64_t>(left_, out.size()))));
  if (count == 0) co_return ClosedEarly();
  left_ -= count;
  co_return count;
}

async::Task<Result<size_t>> BodyReader::ReadChunked(ReadBuffer& buffer, const ReadFunction& read,
                                                    std::span<char> out) {
  std::vector<char> piece;
  while (!decoder_.done()) {
    if (buffer.empty()) {
      piece.resize(kReadSize);
      CO_ASSIGN(size_t n, co_await read(piece));
      if (n == 0) co_return ClosedEarly();
      buffer.Append(std::string_view(piece.data(), n));
    }
    // Data is a part of the input, so it fits when the input is no longer than `out`.
    std::string_view input = buffer.view().substr(0, out.size());
    Result<ChunkedDecoder::Step> step = decoder_.Decode(input);
    if (!step) co_return std::unexpected(std::move(step).error());
    size_t count = step->data.size();
    if (count > 0) std::memcpy(out.data(), step->data.data(), count);
    buffer.Consume(step->consumed);
    if (count > 0) co_return count;
  }
  co_return 0UL;
}

async::Task<Result<size_t>> BodyReader::ReadUntilClose(ReadBuffer& buffer, const ReadFunction& read,
                                                       std::span<char> out) {
  size_t count = CopyOut(buffer, out);
  if (count == 0) {
    CO_ASSIGN(count, co_await read(out));
    closed_ = count == 0;
  }
  co_return count;
}

}  // namespace atl::http
