// SPDX-License-Identifier: Apache-2.0
// Making a repository, and opening one.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "repository/lock_owner.h"
#include "repository/names.h"
#include "repository/repository_impl.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

constexpr uint64_t kMaxSmallFile = 64U << 10U;
constexpr size_t kMaxKeys = 100;
// A key without a config that is younger may be of somebody who is at it.
constexpr int64_t kInitMs = 60'000;

std::unexpected<Error> FailExists(const blob::Store& store, std::string_view why) {
  return Fail(Code::kAlreadyExists, fmt::format("{}: {}", store.name(), why), "REPOSITORY_EXISTS");
}

std::unexpected<Error> FailBeingMade(const blob::Store& store) {
  return Fail(Code::kUnavailable,
              fmt::format("{}: another process is making a repository there", store.name()),
              "REPOSITORY_EXISTS");
}

// A config without content is what an earlier Init has left that came to its end half way. Keys
// without a config open nothing, but restic would take them for the repository's.
Result<void> RemoveLeftKeys(blob::Store& store) {
  ASSIGN(const auto keys, store.List({.prefix = PrefixOf(FileType::kKey), .start_after = {}}));
  if (keys.empty()) return {};
  for (const FileType type : {FileType::kSnapshot, FileType::kIndex, FileType::kData}) {
    ASSIGN(const auto files, store.List({.prefix = PrefixOf(type), .start_after = {}}));
    if (!files.empty()) {
      return FailExists(store, "there is a repository whose file `config` is missing");
    }
  }
  const int64_t now_ms = Now().seconds * 1000;
  for (const blob::Entry& key : keys) {
    if (key.modified_ms > 0 && now_ms - key.modified_ms < kInitMs) return FailBeingMade(store);
  }
  for (const blob::Entry& key : keys) TRY(store.Remove(key.key));
  return {};
}

struct Opened {
  Key key;
  RepositoryConfig config;
};

// Nothing when this key is not the one that has sealed the config.
Result<std::optional<Opened>> TryKey(const Key& key, std::string_view sealed_config) {
  std::string plain;
  if (!key.Open(sealed_config, plain)) return std::nullopt;
  ASSIGN(const auto json, DecodeUnpacked(plain, kMaxSmallFile));
  ASSIGN(auto config, RepositoryConfig::FromJson(json));
  return Opened{.key = key, .config = std::move(config)};
}

Result<std::string> LoadKeyFile(blob::Store& store, const Id& id) {
  ASSIGN(auto bytes, store.Get(KeyOf(FileType::kKey, id), kMaxSmallFile));
  if (Hash(bytes) != id) {
    return FailCorrupt(FileType::kKey, id, "the content is not what the name says");
  }
  return bytes;
}

Result<Opened> Unlock(blob::Store& store, std::string_view password) {
  auto config = store.Get(KeyOf(FileType::kConfig), kMaxSmallFile);
  if (!config) {
    if (config.error().code != Code::kNotFound) return std::unexpected(std::move(config).error());
    return Fail(Code::kNotFound, fmt::format("{}: there is no repository", store.name()),
                "REPOSITORY_NOT_FOUND");
  }
  ASSIGN(const auto keys, store.List({.prefix = PrefixOf(FileType::kKey), .start_after = {}}));
  size_t tried = 0;
  bool unlocked = false;
  std::optional<Error> damaged;
  for (const blob::Entry& entry : keys) {
    const auto parsed = ParseKey(entry.key);
    if (!parsed || parsed->type != FileType::kKey) continue;
    if (++tried > kMaxKeys) break;
    auto bytes = LoadKeyFile(store, parsed->id);
    if (!bytes && bytes.error().code == Code::kNotFound) continue;
    if (!bytes && !IsCorrupt(bytes.error())) return std::unexpected(std::move(bytes).error());
    auto file = bytes ? KeyFile::FromJson(*bytes) : std::unexpected(std::move(bytes).error());
    if (!file) {
      log::Warning("{}: {} cannot be used: {}", store.name(), entry.key, file.error().message);
      damaged = std::move(file).error().Wrap(entry.key);
      continue;
    }
    const auto key = file->Unlock(password);
    if (!key) continue;
    unlocked = true;
    ASSIGN(auto opened, TryKey(*key, *config));
    if (opened) return std::move(*opened);
  }
  if (unlocked) {
    return Fail(
        Code::kInternal,
        fmt::format("{}: the file `config` is damaged or of another repository", store.name()),
        std::string(kCorrupt));
  }
  if (damaged || tried == 0) {
    return Fail(Code::kInternal,
                fmt::format("{}: no key that can be used: {}", store.name(),
                            damaged ? damaged->message : "there is none in keys/"),
                std::string(kCorrupt));
  }
  return Fail(Code::kPermissionDenied,
              fmt::format("{}: the password opens none of its keys", store.name()),
              "REPOSITORY_PASSWORD_WRONG");
}

}  // namespace

Result<void> Repository::Init(blob::Store& store, const Options& options) {
  ASSIGN(const auto config_size, store.Size(KeyOf(FileType::kConfig)));
  if (config_size) return FailExists(store, "there is a repository already");
  TRY(RemoveLeftKeys(store));

  const Key master = Key::Random();
  KeyFile file = KeyFile::Make(master, options.password, options.scrypt);
  file.hostname = HostName();
  file.username = UserName();
  file.created = FormatTime(Now());
  const std::string key_json = file.ToJson();
  const std::string key_name = KeyOf(FileType::kKey, Hash(key_json));
  TRY(store.Put(key_name, key_json));
  // The key is there, then a look: of two who do so at once at least one sees the other and leaves.
  auto keys = store.List({.prefix = PrefixOf(FileType::kKey), .start_after = {}});
  const bool alone = keys && std::all_of(keys->begin(), keys->end(), [&](const blob::Entry& entry) {
                       return entry.key == key_name;
                     });
  if (!alone) {
    TRY(store.Remove(key_name));
    if (!keys) return std::unexpected(std::move(keys).error());
    return FailBeingMade(store);
  }
  std::string config;
  master.Seal(RepositoryConfig::Random().ToJson(), config);
  return store.Put(KeyOf(FileType::kConfig), config);
}

Result<std::unique_ptr<Repository>> Repository::Open(std::shared_ptr<blob::Store> store,
                                                     Options options) {
  LockTimes times;
  times.wait = options.lock_wait;
  return OpenRepository(std::move(store), std::move(options), times);
}

Result<std::unique_ptr<Repository>> OpenRepository(std::shared_ptr<blob::Store> store,
                                                   Options options, LockTimes times) {
  ASSIGN(auto opened, Unlock(*store, options.password));
  options.password.clear();
  return std::make_unique<RepositoryImpl>(std::move(store), std::move(options), opened.key,
                                          std::move(opened.config), times);
}

}  // namespace atl::repository
