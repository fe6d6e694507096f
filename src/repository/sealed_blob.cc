// SPDX-License-Identifier: Apache-2.0
// Blobs on their way into packs and out of them.
#include <utility>

#include "crypto/sha256.h"
#include "repository/compression.h"
#include "repository/corrupt.h"
#include "repository/limits.h"
#include "repository/pack.h"

namespace atl::repository {
namespace {

// What a thread keeps between blobs; more is given back.
constexpr size_t kKeepScratch = 2U << 20U;

// A buffer of the thread's own, empty at first.
class Scratch {
 public:
  Scratch() { Buffer().clear(); }
  ~Scratch() {
    if (Buffer().capacity() > kKeepScratch) std::string().swap(Buffer());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string& operator*() { return Buffer(); }

 private:
  static std::string& Buffer() {
    thread_local std::string buffer;
    return buffer;
  }
};

std::string NameOf(const BlobHandle& handle) {
  return std::string(BlobTypeName(handle.type)) + " blob " + handle.id.Short();
}

Unexpected Named(const BlobHandle& handle, Error error) {
  Error named = std::move(error).Wrap(NameOf(handle));
  named.reason = "REPOSITORY_CORRUPT";
  return Unexpected(std::move(named));
}

Result<void> CheckSealed(const PackedBlob& blob, std::string_view sealed) {
  TRY(CheckBounds(blob));
  if (sealed.size() != blob.length) return FailCorrupt(NameOf(blob.handle) + " is cut off");
  return {};
}

}  // namespace

SealedBlob SealBlob(const Key& key, BlobHandle handle, std::string_view plain) {
  SealedBlob sealed{.handle = handle};
  Scratch compressed;
  std::string_view content = plain;
  if (plain.size() > 1 && AppendCompressed(plain, plain.size() - 1, *compressed)) {
    content = *compressed;
    sealed.raw_length = static_cast<uint32_t>(plain.size());
  }
  key.Seal(content, sealed.bytes);
  return sealed;
}

struct BlobSealer::Impl {
  explicit Impl(BlobType blob_type) : type(blob_type) {}

  const BlobType type;
  crypto::Sha256 hash;
  StreamCompressor compressor;
  std::string bytes = std::string(kSealRoom, 0);
  uint64_t plain = 0;
};

BlobSealer::BlobSealer(BlobType type) : impl_(std::make_unique<Impl>(type)) {}
BlobSealer::~BlobSealer() = default;

Result<void> BlobSealer::Append(std::string_view piece) {
  if (piece.size() > MaxPlain(impl_->type) - impl_->plain) {
    return Fail(Code::kTooLarge, "a blob of type " + std::string(BlobTypeName(impl_->type)) +
                                     " is larger than a repository takes");
  }
  impl_->plain += piece.size();
  impl_->hash.Update(piece);
  impl_->compressor.Append(piece, impl_->bytes);
  return {};
}

Result<SealedBlob> BlobSealer::Finish(const Key& key) {
  SealedBlob sealed{.handle = {.type = impl_->type, .id = Id{impl_->hash.Finish()}}};
  // There is no compressed blob of nothing: zero stands for "not compressed".
  if (impl_->plain == 0) {
    impl_->bytes.resize(kSealRoom);
  } else {
    impl_->compressor.Finish(impl_->bytes);
  }
  key.SealInPlace(impl_->bytes);
  if (impl_->bytes.size() > kMaxPackBytes - kMaxPackHeader) {
    return Fail(Code::kTooLarge, NameOf(sealed.handle) + " is larger than a pack may be");
  }
  sealed.raw_length = static_cast<uint32_t>(impl_->plain);
  sealed.bytes = std::move(impl_->bytes);
  return sealed;
}

Result<std::string> OpenBlob(const Key& key, const PackedBlob& blob, std::string_view sealed) {
  TRY(CheckSealed(blob, sealed));
  std::string plain;
  auto opened = [&]() -> Result<void> {
    if (blob.raw_length == 0) return key.Open(sealed, plain);
    Scratch compressed;
    TRY(key.Open(sealed, *compressed));
    return AppendDecompressed(*compressed, blob.raw_length, plain);
  }();
  if (!opened) return Named(blob.handle, std::move(opened).error());
  if (Hash(plain) != blob.handle.id) {
    return FailCorrupt(NameOf(blob.handle) + " has another content than its id says");
  }
  return plain;
}

Result<void> OpenBlobTo(const Key& key, const PackedBlob& blob, std::string_view sealed,
                        const std::function<Result<void>(std::string_view piece)>& sink) {
  TRY(CheckSealed(blob, sealed));
  crypto::Sha256 hash;
  uint64_t left = blob.PlainLength();
  bool refused = false;  // the sink has failed: its error goes up as it is
  auto take = [&](std::string_view piece) -> Result<void> {
    if (piece.size() > left) return FailCorrupt("more content than was announced");
    left -= piece.size();
    hash.Update(piece);
    auto taken = sink(piece);
    refused = !taken;
    return taken;
  };
  auto opened = [&]() -> Result<void> {
    if (blob.raw_length == 0) return key.OpenTo(sealed, take);
    StreamDecompressor decompressor(take);
    TRY(key.OpenTo(sealed, [&](std::string_view piece) { return decompressor.Append(piece); }));
    return decompressor.Finish();
  }();
  if (!opened && refused) return opened;
  if (!opened) return Named(blob.handle, std::move(opened).error());
  if (left != 0 || Id{hash.Finish()} != blob.handle.id) {
    return FailCorrupt(NameOf(blob.handle) + " has another content than its id says");
  }
  return {};
}

}  // namespace atl::repository
