// SPDX-License-Identifier: Apache-2.0
// What the host offers, found by doing it once: for `atoll doctor`.
#pragma once

#include <string>
#include <vector>

namespace atl::oci {

struct Check {
  std::string name;  // "id-mapped mounts"
  bool ok = false;
  bool required = true;
  std::string detail;  // what was found, or why it failed and what to do
};

// `scratch`: a directory on the file system where sandboxes live; it may not exist yet.
std::vector<Check> ProbeHost(const std::string& scratch);

}  // namespace atl::oci
