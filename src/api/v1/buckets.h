// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/<id>/buckets: buckets of S3 stores as directories.
#pragma once

#include <span>

#include "api/v1/route.h"
#include "json/reader.h"
#include "sandbox/buckets.h"

namespace atl::api {

// Where a store is and how it is used: endpoint, region, provider, prefix, readOnly, credentials
// and secret. INVALID_MOUNT_CONFIG for what would be ignored.
Result<void> ParseBucketOptions(const json::Object& options, sandbox::BucketRequest& into);

std::span<const Route> BucketRoutes();

}  // namespace atl::api
