// SPDX-License-Identifier: Apache-2.0
// What a directory store looks like on disk, in one place:
//   <snapshot id>.json   the metadata; the id is the SHA-256 of exactly these bytes
//   <object>.tar.zst     the tar stream, one zstd frame; named by the metadata
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "snapshot/store.h"

namespace atl::snapshot {

inline constexpr std::string_view kMetaSuffix = ".json";
inline constexpr std::string_view kObjectSuffix = ".tar.zst";
inline constexpr size_t kMaxMetaBytes = 64U << 10U;

struct Record {
  Meta meta;               // its snapshot_id is not part of the text
  std::string object;      // 32 random hex characters
  std::string tar_sha256;  // of the uncompressed stream
  bool operator==(const Record& other) const;
};

bool IsSnapshotId(std::string_view id);
std::string NewObjectName();
std::string MetaFile(std::string_view snapshot_id);
std::string ObjectFile(std::string_view object);

// The text of the metadata file. Sets record.meta.snapshot_id. kInvalidArgument when the text could
// not be read back (a name that is not UTF-8, or too long).
Result<std::string> EncodeRecord(Record& record);
// Checks that the text is what `snapshot_id` was given for.
Result<Record> DecodeRecord(std::string_view snapshot_id, std::string_view text);

}  // namespace atl::snapshot
