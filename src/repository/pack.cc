// SPDX-License-Identifier: Apache-2.0
#include "repository/pack.h"

#include <cstring>

#include "repository/corrupt.h"
#include "repository/limits.h"

namespace atl::repository {
namespace {

constexpr size_t kLengthBytes = 4;
// Type, length, [length of the plaintext,] id.
constexpr size_t kPlainEntry = 1 + 4 + 32;
constexpr size_t kCompressedEntry = 1 + 4 + 4 + 32;

constexpr unsigned char kCompressed = 2;  // added to the type of the blob

void PutU32(std::string& out, uint32_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t GetU32(std::string_view bytes) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

// Takes one entry from the front.
Result<PackedBlob> TakeEntry(std::string_view& entries) {
  auto type = static_cast<unsigned char>(entries.front());
  if (type > 3) return FailCorrupt("the pack's header has a blob of an unknown type");
  bool compressed = (type & kCompressed) != 0;
  size_t size = compressed ? kCompressedEntry : kPlainEntry;
  if (entries.size() < size) return FailCorrupt("the pack's header is cut off");
  PackedBlob blob;
  blob.handle.type = (type & 1U) != 0 ? BlobType::kTree : BlobType::kData;
  blob.length = GetU32(entries.substr(1));
  if (compressed) {
    blob.raw_length = GetU32(entries.substr(5));
    if (blob.raw_length == 0) return FailCorrupt("the pack's header has an empty compressed blob");
  }
  std::string_view id = entries.substr(size - blob.handle.id.bytes.size());
  std::memcpy(blob.handle.id.bytes.data(), id.data(), blob.handle.id.bytes.size());
  entries.remove_prefix(size);
  return blob;
}

}  // namespace

Result<void> CheckBounds(const PackedBlob& blob) {
  if (blob.length < kSealOverhead || blob.length > kMaxPackBytes ||
      blob.offset > kMaxPackBytes - blob.length) {
    return FailCorrupt("blob " + blob.handle.id.Short() + " lies outside of any pack");
  }
  if (blob.PlainLength() > MaxPlain(blob.handle.type)) {
    return FailCorrupt("blob " + blob.handle.id.Short() + " is larger than a blob may be");
  }
  return {};
}

std::string EncodePackHeader(const Key& key, const std::vector<PackedBlob>& blobs) {
  std::string entries;
  entries.reserve(blobs.size() * kCompressedEntry);
  for (const PackedBlob& blob : blobs) {
    bool compressed = blob.raw_length != 0;
    entries.push_back(
        static_cast<char>(static_cast<unsigned>(blob.handle.type) | (compressed ? 2U : 0U)));
    PutU32(entries, blob.length);
    if (compressed) PutU32(entries, blob.raw_length);
    entries.append(reinterpret_cast<const char*>(blob.handle.id.bytes.data()),
                   blob.handle.id.bytes.size());
  }
  std::string header;
  header.reserve(entries.size() + kSealOverhead + kLengthBytes);
  key.Seal(entries, header);
  PutU32(header, static_cast<uint32_t>(header.size()));
  return header;
}

Result<uint64_t> PackHeaderBytes(std::string_view last_four, uint64_t pack_bytes) {
  if (pack_bytes > kMaxPackBytes) return FailCorrupt("the pack is larger than a pack may be");
  if (last_four.size() != kLengthBytes) return FailCorrupt("the pack is cut off");
  uint64_t bytes = uint64_t{GetU32(last_four)} + kLengthBytes;
  if (bytes < kPlainEntry + kSealOverhead + kLengthBytes || bytes > kMaxPackHeader ||
      bytes > pack_bytes) {
    return FailCorrupt("the length of the pack's header cannot be right");
  }
  return bytes;
}

Result<std::vector<PackedBlob>> DecodePackHeader(const Key& key, std::string_view tail,
                                                 uint64_t pack_bytes) {
  if (tail.size() < kLengthBytes || tail.size() > pack_bytes) {
    return FailCorrupt("the pack is cut off");
  }
  ASSIGN(uint64_t bytes, PackHeaderBytes(tail.substr(tail.size() - kLengthBytes), pack_bytes));
  if (bytes > tail.size()) return FailCorrupt("the pack's header is cut off");
  std::string_view sealed = tail.substr(tail.size() - bytes, bytes - kLengthBytes);
  std::string header;
  if (!key.Open(sealed, header)) return FailCorrupt("the pack's header is not authentic");

  std::vector<PackedBlob> blobs;
  blobs.reserve(header.size() / kPlainEntry);
  uint64_t offset = 0;
  for (std::string_view entries = header; !entries.empty();) {
    ASSIGN(PackedBlob blob, TakeEntry(entries));
    blob.offset = static_cast<uint32_t>(offset);
    TRY(CheckBounds(blob));
    offset += blob.length;
    blobs.push_back(blob);
  }
  if (offset + bytes != pack_bytes) {
    return FailCorrupt("the pack's blobs and header are not as long as the pack");
  }
  return blobs;
}

}  // namespace atl::repository
