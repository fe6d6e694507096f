// SPDX-License-Identifier: Apache-2.0
// [buckets]: credentials of S3 stores that sandboxes may be given buckets with, by name.
#pragma once

#include "base/result.h"
#include "daemon/config_source.h"
#include "sandbox/buckets.h"

namespace atl::daemon {

Result<sandbox::BucketSecrets> ReadBuckets(Source& source);

}  // namespace atl::daemon
