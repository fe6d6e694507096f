// SPDX-License-Identifier: Apache-2.0
// Pack headers, blobs, indexes, keys and the config of a hostile store, or of one who has the key:
// what is accepted must come out the same when it is encoded again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "repository/key.h"
#include "repository/pack.h"

namespace {

using namespace atl;
using namespace atl::repository;

void Check(bool holds) {
  if (!holds) std::abort();
}

const Key& TheKey() {
  static const Key key = Key::Random();
  return key;
}

// How much would stand before a header with these entries.
uint64_t BytesOfBlobs(std::string_view entries) {
  uint64_t bytes = 0;
  while (entries.size() >= 5) {
    for (unsigned i = 0; i < 4; ++i) {
      bytes += uint64_t{static_cast<unsigned char>(entries[1 + i])} << (8 * i);
    }
    size_t entry = entries[0] < 2 ? 37 : 41;
    entries.remove_prefix(std::min(entries.size(), entry));
  }
  return bytes;
}

void AsPackHeader(std::string_view entries) {
  std::string pack;
  TheKey().Seal(entries, pack);
  for (unsigned shift = 0, size = static_cast<unsigned>(pack.size()); shift < 32; shift += 8) {
    pack.push_back(static_cast<char>(size >> shift));
  }
  (void)DecodePackHeader(TheKey(), entries, entries.size());
  uint64_t before = BytesOfBlobs(entries);
  auto blobs = DecodePackHeader(TheKey(), pack, pack.size() + before);
  if (!blobs) return;
  uint64_t end = 0;
  for (const PackedBlob& blob : *blobs) {
    Check(blob.offset == end && blob.length >= kSealOverhead);
    end += blob.length;
  }
  Check(end == before);
  std::string header = EncodePackHeader(TheKey(), *blobs);
  auto again = DecodePackHeader(TheKey(), header, header.size() + before);
  Check(again && *again == *blobs);
}

void AsBlob(std::string_view content) {
  std::string sealed;
  TheKey().Seal(content, sealed);
  for (uint32_t raw_length : {0U, 10U, 70'000U}) {
    PackedBlob blob{.handle = {.type = BlobType::kData, .id = Hash(content)},
                    .length = static_cast<uint32_t>(sealed.size()),
                    .raw_length = raw_length};
    std::string pieces;
    auto streamed = OpenBlobTo(TheKey(), blob, sealed, [&](std::string_view piece) {
      pieces += piece;
      return Result<void>();
    });
    auto opened = OpenBlob(TheKey(), blob, sealed);
    Check(opened.has_value() == streamed.has_value());
    Check(pieces.size() <= blob.PlainLength());
    if (opened) Check(*opened == pieces);
  }
}

void AsIndex(std::string_view json) {
  IndexFile index;
  auto take = [&](IndexedPack pack) -> Result<void> {
    index.packs.push_back(std::move(pack));
    return {};
  };
  if (!DecodeIndex(json, take)) return;
  IndexFile first = std::exchange(index, {});
  Check(DecodeIndex(EncodeIndex(first), take).has_value());
  Check(index.packs.size() == first.packs.size());
  for (size_t i = 0; i < index.packs.size(); ++i) {
    Check(index.packs[i].pack == first.packs[i].pack);
    Check(index.packs[i].blobs == first.packs[i].blobs);
  }
}

void AsSmallFiles(std::string_view text) {
  // Passwords are not tried: scrypt is slow on purpose.
  if (auto file = KeyFile::FromJson(text)) Check(KeyFile::FromJson(file->ToJson()).has_value());
  if (auto key = Key::FromJson(text)) Check(Key::FromJson(key->ToJson()).has_value());
  if (auto config = RepositoryConfig::FromJson(text)) {
    Check(RepositoryConfig::FromJson(config->ToJson()).has_value());
  }
  if (auto plain = DecodeUnpacked(text, 1U << 20U)) {
    Check(plain->size() <= 1U << 20U);
    auto again = DecodeUnpacked(EncodeUnpacked(*plain), 1U << 20U);
    Check(again && *again == *plain);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  AsPackHeader(input);
  AsBlob(input);
  AsIndex(input);
  AsSmallFiles(input);
  return 0;
}
