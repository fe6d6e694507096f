// SPDX-License-Identifier: Apache-2.0
#include "repository/names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "json/utf8.h"

namespace atl::repository {
namespace {

constexpr std::string_view kConfigKey = "config";
constexpr std::string_view kArchives = "archives/";
constexpr std::string_view kArchiveEnd = ".tar.zst";

constexpr std::array<std::pair<FileType, std::string_view>, 5> kFolders = {{
    {FileType::kData, "data/"},
    {FileType::kIndex, "index/"},
    {FileType::kKey, "keys/"},
    {FileType::kLock, "locks/"},
    {FileType::kSnapshot, "snapshots/"},
}};

constexpr std::array<std::pair<Trigger, std::string_view>, 4> kTriggers = {{
    {Trigger::kManual, "manual"},
    {Trigger::kStop, "stop"},
    {Trigger::kStart, "start"},
    {Trigger::kInterval, "interval"},
}};

constexpr std::string_view kSandboxTag = "sandbox=";
constexpr std::string_view kDirTag = "dir=";
constexpr std::string_view kNameTag = "name=";
constexpr std::string_view kTriggerTag = "trigger=";
constexpr std::string_view kExpiresTag = "expires=";
constexpr std::string_view kPinnedTag = "pinned";
constexpr std::string_view kFrozenTag = "frozen";
constexpr std::string_view kEditionTag = "edition=";

constexpr std::string_view kDigits = "0123456789ABCDEF";

// What is not UTF-8 is encoded as well: tags are strings of JSON.
std::string EncodeValue(std::string_view value) {
  bool utf8 = json::IsUtf8(value);
  std::string encoded;
  encoded.reserve(value.size());
  for (char c : value) {
    auto byte = static_cast<unsigned char>(c);
    bool plain = c != ',' && c != '%' && byte >= 0x20 && byte != 0x7f && (utf8 || byte < 0x80);
    if (plain) {
      encoded += c;
    } else {
      encoded += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return encoded;
}

// A '%' without two digits behind it stands for itself.
std::string DecodeValue(std::string_view encoded) {
  std::string value;
  value.reserve(encoded.size());
  for (size_t i = 0; i < encoded.size(); ++i) {
    unsigned char byte = 0;
    const char* digits = encoded.data() + i + 1;
    if (encoded[i] == '%' && encoded.size() - i > 2 &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      value += static_cast<char>(byte);
      i += 2;
    } else {
      value += encoded[i];
    }
  }
  return value;
}

std::optional<int64_t> ParseSeconds(std::string_view text) {
  int64_t seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return seconds;
}

// Zero: it is none.
uint64_t ParseEdition(std::string_view tag) {
  if (!tag.starts_with(kEditionTag)) return 0;
  tag.remove_prefix(kEditionTag.size());
  uint64_t edition = 0;
  auto [end, error] = std::from_chars(tag.data(), tag.data() + tag.size(), edition);
  return error == std::errc() && end == tag.data() + tag.size() ? edition : 0;
}

// False when the tag is none that this file gives, or says again what another one has said.
bool DecodeTag(std::string_view tag, Tags& tags, bool& has_trigger) {
  auto text = [&tag](std::string_view prefix, std::string& to) {
    if (!tag.starts_with(prefix) || !to.empty() || tag.size() == prefix.size()) return false;
    to = DecodeValue(tag.substr(prefix.size()));
    return true;
  };
  if (text(kSandboxTag, tags.sandbox) || text(kDirTag, tags.dir) || text(kNameTag, tags.name)) {
    return true;
  }
  if (tag.starts_with(kTriggerTag) && !has_trigger) {
    auto trigger = ParseTrigger(tag.substr(kTriggerTag.size()));
    if (!trigger) return false;
    tags.trigger = *trigger;
    has_trigger = true;
    return true;
  }
  if (tag.starts_with(kExpiresTag) && !tags.expires_at) {
    tags.expires_at = ParseSeconds(tag.substr(kExpiresTag.size()));
    return tags.expires_at.has_value();
  }
  if (const uint64_t edition = ParseEdition(tag); edition > 0) {
    tags.edition = std::max(tags.edition, edition);
    return true;
  }
  if (tag == kPinnedTag) return tags.pinned = true;
  if (tag == kFrozenTag) return tags.frozen = true;
  return false;
}

}  // namespace

std::string PrefixOf(FileType type) {
  for (auto [folder_type, folder] : kFolders) {
    if (folder_type == type) return std::string(folder);
  }
  return std::string(kConfigKey);
}

std::string KeyOf(FileType type, const Id& id) {
  std::string key = PrefixOf(type);
  if (type == FileType::kConfig) return key;
  std::string hex = id.Hex();
  if (type == FileType::kData) key.append(hex, 0, 2).append("/");
  return key + hex;
}

std::optional<ParsedKey> ParseKey(std::string_view key) {
  if (key == kConfigKey) return ParsedKey{};
  for (auto [type, folder] : kFolders) {
    if (!key.starts_with(folder)) continue;
    std::string_view rest = key.substr(folder.size());
    if (type == FileType::kData) {
      if (rest.size() < 5 || rest[2] != '/' || rest.substr(0, 2) != rest.substr(3, 2)) break;
      rest.remove_prefix(3);
    }
    auto id = ParseId(rest);
    if (!id) break;
    return ParsedKey{.type = type, .id = *id};
  }
  return std::nullopt;
}

std::string ArchiveKey(const Id& snapshot) {
  return std::string(kArchives).append(snapshot.Hex()).append(kArchiveEnd);
}

std::optional<Id> ParseArchiveKey(std::string_view key) {
  if (!key.starts_with(kArchives) || !key.ends_with(kArchiveEnd)) return std::nullopt;
  key.remove_prefix(kArchives.size());
  key.remove_suffix(kArchiveEnd.size());
  auto id = ParseId(key);
  if (!id) return std::nullopt;
  return *id;
}

std::string_view TriggerName(Trigger trigger) {
  for (auto [value, name] : kTriggers) {
    if (value == trigger) return name;
  }
  return "manual";
}

std::optional<Trigger> ParseTrigger(std::string_view name) {
  for (auto [value, text] : kTriggers) {
    if (text == name) return value;
  }
  return std::nullopt;
}

std::vector<std::string> EncodeTags(const Tags& tags) {
  std::vector<std::string> encoded;
  auto text = [&encoded](std::string_view prefix, std::string_view value) {
    if (!value.empty()) encoded.push_back(std::string(prefix) + EncodeValue(value));
  };
  text(kSandboxTag, tags.sandbox);
  text(kDirTag, tags.dir);
  text(kNameTag, tags.name);
  text(kTriggerTag, TriggerName(tags.trigger));
  if (tags.expires_at) text(kExpiresTag, std::to_string(*tags.expires_at));
  if (tags.pinned) encoded.emplace_back(kPinnedTag);
  if (tags.frozen) encoded.emplace_back(kFrozenTag);
  encoded.insert(encoded.end(), tags.labels.begin(), tags.labels.end());
  // Last, where WithEdition puts it.
  if (tags.edition > 0) text(kEditionTag, std::to_string(tags.edition));
  return encoded;
}

std::vector<std::string> WithEdition(std::vector<std::string> tags, uint64_t edition) {
  std::erase_if(tags, [](std::string_view tag) { return ParseEdition(tag) > 0; });
  if (edition > 0) tags.push_back(std::string(kEditionTag) + std::to_string(edition));
  return tags;
}

Tags DecodeTags(const std::vector<std::string>& tags) {
  Tags decoded;
  bool has_trigger = false;
  for (const std::string& tag : tags) {
    if (!DecodeTag(tag, decoded, has_trigger)) decoded.labels.push_back(tag);
  }
  return decoded;
}

}  // namespace atl::repository
