// SPDX-License-Identifier: Apache-2.0
// Every name that Atoll gives to something in a store: keys of restic's default layout, Atoll's own
// archives beside it, and the tags of snapshots.
// Layout: https://restic.readthedocs.io/en/stable/100_references.html#repository-layout
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/id.h"

namespace atl::repository {

enum class FileType { kConfig, kData, kIndex, kKey, kLock, kSnapshot };

// "config", "data/ab/abcd…", "index/…", "keys/…", "locks/…", "snapshots/…"
std::string KeyOf(FileType type, const Id& id = {});
// "data/", "index/", …
std::string PrefixOf(FileType type);

struct ParsedKey {
  FileType type = FileType::kConfig;
  Id id;
};
// Nothing for a key that is none of a repository's.
std::optional<ParsedKey> ParseKey(std::string_view key);

// An archive of a snapshot that was made to be handed out: "archives/<snapshot id>.tar.zst". restic
// ignores it.
std::string ArchiveKey(const Id& snapshot);
std::optional<Id> ParseArchiveKey(std::string_view key);

enum class Trigger { kManual, kStop, kStart, kInterval };
std::string_view TriggerName(Trigger trigger);
std::optional<Trigger> ParseTrigger(std::string_view name);

// What the tags of a snapshot say. restic's tags hold no comma, so values are percent-encoded:
// ',', '%' and control characters.
struct Tags {
  std::string sandbox;  // "sandbox=<id>"
  std::string dir;      // "dir=<path>"
  std::string name;     // "name=<name>"; empty: none
  Trigger trigger = Trigger::kManual;
  std::optional<int64_t> expires_at;  // "expires=<Unix seconds>"; none: never
  bool pinned = false;                // "pinned": neither time nor a rule removes it
  bool frozen = false;                // "frozen": the sandbox stood still while it was read
  // "edition=<Unix nanoseconds>": when the tags were last changed; 0: never. Of several files that
  // are editions of one snapshot the latest counts.
  uint64_t edition = 0;
  std::vector<std::string> labels;  // any other tag, as it is; what callers set
  bool operator==(const Tags&) const = default;
};
std::vector<std::string> EncodeTags(const Tags& tags);
Tags DecodeTags(const std::vector<std::string>& tags);
// The same tags as those of another edition.
std::vector<std::string> WithEdition(std::vector<std::string> tags, uint64_t edition);

}  // namespace atl::repository
