// SPDX-License-Identifier: Apache-2.0
// The container of a bucket's client: what of the host it sees, and how s3fs is called.
#pragma once

#include <string>

#include "base/result.h"
#include "oci/bucket_client.h"

namespace atl::oci {

inline constexpr const char* kBucketClient = "/usr/bin/s3fs";
// It runs as this id of its sandbox's range, which nothing else on the host has.
inline constexpr uint32_t kBucketClientId = 65533;

struct BucketBundleSpec {
  const BucketMount& mount;
  std::string spool_dir;  // content on its way: a file system of its own
  std::string agent_binary;
  std::string seccomp_base64;
};

// `dir`/config.json and `dir`/rootfs. Descriptor 3 is the device, 4 the credential.
Result<void> WriteBucketBundle(const std::string& dir, const BucketBundleSpec& spec);

}  // namespace atl::oci
