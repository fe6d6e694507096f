// SPDX-License-Identifier: Apache-2.0
#include "snapshot/pack_facts.h"

#include <algorithm>
#include <cstring>

namespace atl::snapshot {
namespace {

// So little between two blobs is read rather than asked for twice.
constexpr uint64_t kMaxGap = 64U << 10U;

uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31U);
}

uint64_t DigestOf(const repository::PackedBlob& blob) {
  uint64_t digest = static_cast<uint64_t>(blob.handle.type);
  for (size_t at = 0; at < blob.handle.id.bytes.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, blob.handle.id.bytes.data() + at, sizeof(word));
    digest = Mix(digest + word);
  }
  digest = Mix(digest + blob.offset);
  digest = Mix(digest + blob.length);
  return Mix(digest + blob.raw_length);
}

}  // namespace

void PackFacts::Add(const repository::PackedBlob& blob) {
  ++blobs;
  end = std::max(end, uint64_t{blob.offset} + blob.length);
  blob_bytes += blob.length;
  // Type, length, id; the length of the plaintext when it is compressed.
  header_bytes += blob.raw_length != 0 ? 41 : 37;
  plain_bytes += blob.PlainLength();
  digest += DigestOf(blob);
  (blob.handle.type == repository::BlobType::kTree ? trees : data) = true;
}

PackMap CollectPacks(const repository::Repository& repository) {
  PackMap packs;
  repository.ForEachBlob([&](const repository::Id& pack, const repository::PackedBlob& blob) {
    packs[pack].Add(blob);
  });
  return packs;
}

Result<void> ReadBlobs(
    std::span<const repository::PackedBlob> blobs, uint64_t limit,
    const std::function<Result<std::string>(uint64_t offset, uint64_t length)>& read,
    const std::function<Result<void>(const repository::PackedBlob& blob, std::string_view sealed)>&
        take) {
  for (size_t i = 0; i < blobs.size();) {
    const uint64_t begin = blobs[i].offset;
    uint64_t end = begin + blobs[i].length;
    size_t next = i + 1;
    for (; next < blobs.size(); ++next) {
      const uint64_t behind = uint64_t{blobs[next].offset} + blobs[next].length;
      if (blobs[next].offset > end + kMaxGap || behind - begin > limit) break;
      end = std::max(end, behind);
    }
    ASSIGN(const std::string bytes, read(begin, end - begin));
    for (; i < next; ++i) {
      TRY(take(blobs[i], std::string_view(bytes).substr(blobs[i].offset - begin, blobs[i].length)));
    }
  }
  return {};
}

}  // namespace atl::snapshot
