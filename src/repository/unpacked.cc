// SPDX-License-Identifier: Apache-2.0
#include "repository/unpacked.h"

#include <fmt/format.h>

#include <utility>

namespace atl::repository {

SealedFile SealFile(const Key& key, std::string_view json) {
  SealedFile file;
  key.Seal(EncodeUnpacked(json), file.bytes);
  file.id = Hash(file.bytes);
  return file;
}

Result<Id> PutUnpacked(blob::Store& store, const Key& key, FileType type, std::string_view json,
                       std::stop_token stop) {
  const SealedFile file = SealFile(key, json);
  TRY(store.Put(KeyOf(type, file.id), file.bytes, std::move(stop)));
  return file.id;
}

std::unexpected<Error> FailCorrupt(FileType type, const Id& id, std::string_view message) {
  return Fail(Code::kInternal, fmt::format("{}: {}", KeyOf(type, id), message),
              std::string(kCorrupt));
}

bool IsCorrupt(const Error& error) { return error.reason == kCorrupt; }

Result<std::string> LoadUnpacked(blob::Store& store, const Key& key, FileType type, const Id& id,
                                 uint64_t limit, std::stop_token stop) {
  auto sealed = store.Get(KeyOf(type, id), limit + kSealOverhead, std::move(stop));
  if (!sealed) {
    if (sealed.error().code == Code::kTooLarge) {
      return FailCorrupt(type, id, sealed.error().message);
    }
    return std::unexpected(std::move(sealed).error());
  }
  if (Hash(*sealed) != id) return FailCorrupt(type, id, "the content is not what the name says");
  std::string plain;
  if (auto opened = key.Open(*sealed, plain); !opened) {
    return FailCorrupt(type, id, opened.error().message);
  }
  sealed->clear();
  sealed->shrink_to_fit();
  auto json = DecodeUnpacked(plain, limit);
  if (!json) return FailCorrupt(type, id, json.error().message);
  return json;
}

}  // namespace atl::repository
