// SPDX-License-Identifier: Apache-2.0
// Snapshots as /v1 shows them.
#pragma once

#include "json/writer.h"
#include "repository/records.h"
#include "snapshot/browse.h"

namespace atl::api {

void WriteSnapshot(json::Writer& writer, const repository::SnapshotRecord& record);
void WriteNode(json::Writer& writer, const repository::Node& node);
void WriteDiff(json::Writer& writer, const snapshot::Diff& diff);

}  // namespace atl::api
