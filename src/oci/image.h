// SPDX-License-Identifier: Apache-2.0
// Images: root file systems in state_dir/images/<name>/{rootfs/,image.json}.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::oci {

struct Image {
  std::string name;
  std::string rootfs;
  std::string created;  // ISO 8601
  uint64_t bytes = 0;
  uint64_t files = 0;
};

// [a-z0-9][a-z0-9._-]{0,63}
bool IsImageName(std::string_view name);

class ImageStore {
 public:
  explicit ImageStore(std::string images_dir) : dir_(std::move(images_dir)) {}

  // Runs `recipe_dir`/build.sh with the new root directory as its argument, then gives the image
  // its name; one that has it already is replaced only with `replace`, and only if `may_replace`,
  // which is asked last of all, has no objection. A build that fails or is interrupted leaves a
  // temporary at most, which RemoveStale (and the next Build) clears. The script's output goes to
  // `output_fd`. The caller's thread must live as long as the script: both end together.
  Result<Image> Build(const std::string& name, const std::string& recipe_dir, int output_fd,
                      bool replace = false,
                      const std::function<Result<void>()>& may_replace = {}) const;
  Result<std::vector<Image>> List() const;
  Result<Image> Find(const std::string& name) const;  // kNotFound, IMAGE_NOT_FOUND
  // Whether a sandbox uses it is the caller's to know.
  Result<void> Remove(const std::string& name) const;
  // Temporaries that no living build or removal holds.
  Result<std::vector<std::string>> Stale() const;
  Result<void> RemoveStale() const;

 private:
  std::string GuardPath() const { return dir_ + "/.lock"; }
  std::string TemporaryFor(const std::string& name) const;
  Result<std::vector<std::string>> StaleGuarded() const;

  std::string dir_;
};

}  // namespace atl::oci
