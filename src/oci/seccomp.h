// SPDX-License-Identifier: Apache-2.0
// The system call filter: a profile in the form that Docker and Podman share, resolved for our
// capabilities, compiled once, kept in a file and handed to crun ready-made.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::oci {

// From Debian's golang-github-containers-common.
inline constexpr std::string_view kSeccompProfile = "/usr/share/containers/seccomp.json";

struct SeccompFilter {
  std::string bpf;  // an array of struct sock_filter
  size_t rules = 0;
  std::vector<std::string> unknown;  // names in the profile that libseccomp does not know

  std::string Base64() const;
};

// Compiles the text of a profile for programs with these capabilities. What the profile does not
// name answers ENOSYS; so does clone3, whose namespace flags no filter can see, while clone and
// unshare may make no namespaces. Kernel `major.minor` decides minKernel conditions.
Result<SeccompFilter> CompileSeccomp(std::string_view profile,
                                     const std::vector<std::string>& capabilities);

// The base64 of the compiled filter for Capabilities(), from `cache_file` if that was made from
// the same profile, capabilities, kernel and libseccomp; else compiles and rewrites it.
Result<std::string> LoadSeccomp(const std::string& profile_path, const std::string& cache_file);

}  // namespace atl::oci
