// SPDX-License-Identifier: Apache-2.0
#include "snapshot/latest.h"

#include <map>

namespace atl::snapshot {

using repository::Id;
using repository::SnapshotRecord;

const SnapshotRecord* Latest(const std::vector<const SnapshotRecord*>& records) {
  const SnapshotRecord* latest = records.empty() ? nullptr : records.back();
  std::map<Id, const SnapshotRecord*> after;  // the newest that was taken after it
  for (const SnapshotRecord* record : records) {
    if (record->parent) after[*record->parent] = record;
  }
  // Whoever writes into the repository may have made a circle of them.
  for (size_t i = 0; i < records.size(); ++i) {
    auto next = after.find(latest->file);
    if (next == after.end()) next = after.find(latest->id());
    if (next == after.end()) break;
    latest = next->second;
  }
  return latest;
}

}  // namespace atl::snapshot
