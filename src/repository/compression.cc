// SPDX-License-Identifier: Apache-2.0
#include "repository/compression.h"

#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "repository/corrupt.h"
#include "repository/uninitialized.h"

namespace atl::repository {
namespace {

constexpr int kLevel = 1;
// Encoders in use need at most 32 MiB; a frame that asks for more is not given it.
constexpr int kMaxWindowLog = 26;
constexpr size_t kPiece = 128U << 10U;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};
using CompressionContext = std::unique_ptr<ZSTD_CCtx, FreeContext>;
using DecompressionContext = std::unique_ptr<ZSTD_DCtx, FreeContext>;

// No memory, or a parameter that every zstd has: nothing could go on.
size_t Require(size_t result) {
  if (ZSTD_isError(result) != 0) std::abort();
  return result;
}

CompressionContext NewCompression() {
  CompressionContext context(ZSTD_createCCtx());
  if (context == nullptr) std::abort();
  Require(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel));
  return context;
}

DecompressionContext NewDecompression() {
  DecompressionContext context(ZSTD_createDCtx());
  if (context == nullptr) std::abort();
  Require(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog));
  return context;
}

Unexpected BadFrame(size_t result) {
  return FailCorrupt(std::string("zstd: ") + ZSTD_getErrorName(result));
}

}  // namespace

bool AppendCompressed(std::string_view plain, size_t limit, std::string& out) {
  thread_local const CompressionContext context = NewCompression();
  size_t before = out.size();
  size_t room = std::min(limit, ZSTD_compressBound(plain.size()));
  ResizeUninitialized(out, before + room);
  size_t size =
      ZSTD_compress2(context.get(), out.data() + before, room, plain.data(), plain.size());
  bool fits = ZSTD_isError(size) == 0;
  out.resize(fits ? before + size : before);
  return fits;
}

Result<void> AppendDecompressed(std::string_view frames, size_t plain_bytes, std::string& out) {
  thread_local const DecompressionContext context = NewDecompression();
  size_t before = out.size();
  ResizeUninitialized(out, before + plain_bytes);
  size_t size = ZSTD_decompressDCtx(context.get(), out.data() + before, plain_bytes, frames.data(),
                                    frames.size());
  if (size == plain_bytes) return {};
  out.resize(before);
  if (ZSTD_isError(size) != 0) return BadFrame(size);
  return FailCorrupt("zstd: less content than was announced");
}

Result<std::string> Decompress(std::string_view frames, size_t limit) {
  std::string plain;
  auto announced = ZSTD_getFrameContentSize(frames.data(), frames.size());
  if (announced == ZSTD_CONTENTSIZE_ERROR) return FailCorrupt("zstd: not a frame");
  bool single = ZSTD_findFrameCompressedSize(frames.data(), frames.size()) == frames.size();
  if (single && announced != ZSTD_CONTENTSIZE_UNKNOWN) {
    if (announced > limit) return FailCorrupt("zstd: more content than such a file may have");
    TRY(AppendDecompressed(frames, announced, plain));
    return plain;
  }
  StreamDecompressor stream([&](std::string_view piece) -> Result<void> {
    if (piece.size() > limit - plain.size()) {
      return FailCorrupt("zstd: more content than such a file may have");
    }
    plain += piece;
    return {};
  });
  TRY(stream.Append(frames));
  TRY(stream.Finish());
  return plain;
}

struct StreamCompressor::Impl {
  CompressionContext context = NewCompression();

  void Run(ZSTD_EndDirective directive, std::string_view piece, std::string& out) {
    ZSTD_inBuffer in{piece.data(), piece.size(), 0};
    bool done = false;
    while (!done) {
      size_t before = out.size();
      ResizeUninitialized(out, before + ZSTD_CStreamOutSize());
      ZSTD_outBuffer to{out.data(), out.size(), before};
      size_t left = Require(ZSTD_compressStream2(context.get(), &to, &in, directive));
      out.resize(to.pos);
      done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
    }
  }
};

StreamCompressor::StreamCompressor() : impl_(std::make_unique<Impl>()) {}
StreamCompressor::~StreamCompressor() = default;

void StreamCompressor::Append(std::string_view piece, std::string& out) {
  impl_->Run(ZSTD_e_continue, piece, out);
}

void StreamCompressor::Finish(std::string& out) { impl_->Run(ZSTD_e_end, {}, out); }

struct StreamDecompressor::Impl {
  PieceSink sink;
  DecompressionContext context = NewDecompression();
  std::string buffer = std::string(kPiece, 0);
  size_t wanted = 0;  // what zstd waits for; 0: between frames
};

StreamDecompressor::StreamDecompressor(PieceSink sink) : impl_(std::make_unique<Impl>()) {
  impl_->sink = std::move(sink);
}
StreamDecompressor::~StreamDecompressor() = default;

Result<void> StreamDecompressor::Append(std::string_view piece) {
  ZSTD_inBuffer in{piece.data(), piece.size(), 0};
  bool full = false;
  while (in.pos < in.size || full) {
    ZSTD_outBuffer to{impl_->buffer.data(), impl_->buffer.size(), 0};
    size_t wanted = ZSTD_decompressStream(impl_->context.get(), &to, &in);
    if (ZSTD_isError(wanted) != 0) return BadFrame(wanted);
    impl_->wanted = wanted;
    if (to.pos > 0) TRY(impl_->sink(std::string_view(impl_->buffer).substr(0, to.pos)));
    // There may be more in it than the buffer took.
    full = to.pos == to.size && wanted != 0;
  }
  return {};
}

Result<void> StreamDecompressor::Finish() {
  if (impl_->wanted != 0) return FailCorrupt("zstd: the frame is cut off");
  return {};
}

}  // namespace atl::repository
