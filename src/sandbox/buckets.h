// SPDX-License-Identifier: Apache-2.0
// Buckets of S3 stores that a sandbox has as directories: what is asked for, checked, and kept for
// its next starts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::sandbox {

// [buckets.<name>]: a credential that the daemon has, and where it is for.
struct BucketSecret {
  std::string endpoint;
  std::string region = "us-east-1";
  std::string access_key;
  std::string secret_key;
  std::string bucket;  // empty: any
};
using BucketSecrets = std::map<std::string, BucketSecret, std::less<>>;

struct BucketRequest {
  std::string bucket;
  std::string path;
  std::string endpoint;  // empty: the secret's, or Amazon's for the region
  std::string region;    // empty: the secret's, or us-east-1
  std::string prefix;
  bool read_only = false;
  std::string secret;  // by name; or these two:
  std::string access_key;
  std::string secret_key;

  bool operator==(const BucketRequest&) const = default;
};

// One that a sandbox has. What it says of itself never includes a key.
struct BucketState {
  BucketRequest request;  // as it was settled; the keys are empty
  bool mounted = false;
  std::string failure;  // not mounted although the sandbox runs: why
};

// Fills in what is left out, and checks everything: it becomes arguments of a program.
// INVALID_MOUNT_CONFIG, MISSING_CREDENTIALS.
Result<BucketRequest> SettleBucket(BucketRequest request, const BucketSecrets& secrets);

// One below the other, or the same.
bool PathsOverlap(std::string_view one, std::string_view other);

// The buckets of one sandbox in a file that only root reads, and their slots.
struct KeptBucket {
  int slot = 0;
  BucketRequest request;
};
Result<std::vector<KeptBucket>> LoadBuckets(const std::string& file);
// None: the file is removed.
Result<void> StoreBuckets(const std::string& file, const std::vector<KeptBucket>& buckets);

}  // namespace atl::sandbox
