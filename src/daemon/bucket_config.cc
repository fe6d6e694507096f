// SPDX-License-Identifier: Apache-2.0
#include "daemon/bucket_config.h"

#include <fmt/format.h>

namespace atl::daemon {

Result<sandbox::BucketSecrets> ReadBuckets(Source& source) {
  constexpr size_t kMost = 64;
  sandbox::BucketSecrets secrets;
  std::vector<std::string> names;
  TRY(source.ReadList("buckets", "names", names));
  if (names.size() > kMost) return Bad(source.file(), "[buckets] names", "are too many");
  for (const std::string& name : names) {
    std::string section = fmt::format("buckets.{}", name);
    if (name.empty() || name.contains('.')) {
      return Bad(source.file(), "[buckets] names", "must be names without dots");
    }
    sandbox::BucketSecret secret;
    TRY(source.Read(section, "endpoint", secret.endpoint));
    TRY(source.Read(section, "region", secret.region));
    TRY(source.Read(section, "bucket", secret.bucket));
    TRY(source.Read(section, "access_key", secret.access_key));
    TRY(source.Read(section, "secret_key", secret.secret_key));
    if (secret.access_key.empty() || secret.secret_key.empty()) {
      return Bad(source.file(), fmt::format("[{}]", section), "needs access_key and secret_key");
    }
    secrets.emplace(name, std::move(secret));
  }
  return secrets;
}

}  // namespace atl::daemon
