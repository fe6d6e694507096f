// SPDX-License-Identifier: Apache-2.0
// setup: what `atoll serve` needs beside the program: OpenCode and an image.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <string_view>

#include "cli/verbs.h"
#include "oci/image.h"
#include "sys/fd.h"
#include "sys/process.h"

namespace atl::cli {
namespace {

constexpr std::chrono::minutes kFetchLimit{30};
constexpr std::string_view kOpencodeDir = "/opencode";

Result<void> FetchOpencode(const daemon::Config& config) {
  if (!config.opencode_dir.ends_with(kOpencodeDir)) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("[sandbox] opencode_dir is {}, whose name is not \"opencode\": put "
                            "OpenCode there yourself",
                            config.opencode_dir));
  }
  std::string parent = config.opencode_dir;
  parent.resize(parent.size() - kOpencodeDir.size());
  TRY(sys::MakeDirs(parent, 0711));
  ASSIGN(std::string script, FindShared("scripts/fetch_opencode.sh"));
  sys::Command command{.argv = {script, parent},
                       .stdout_fd = STDERR_FILENO,
                       .stderr_fd = STDERR_FILENO,
                       .timeout = kFetchLimit};
  ASSIGN(sys::Finished finished, sys::Run(command));
  if (finished.exit_code == 0) {
    fmt::print(stderr, "OpenCode is there: {}\n", config.opencode_binary());
    return {};
  }
  return Fail(Code::kInternal, fmt::format("{} ended with code {}; what it says stands above",
                                           script, finished.exit_code));
}

}  // namespace

Result<int> Setup(const Globals& globals) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  if (::geteuid() != 0) {
    return Fail(Code::kPermissionDenied, "images belong to root, so set-up must be run by root");
  }
  // Each is of use without the other.
  Result<void> fetched = FetchOpencode(config);
  if (!fetched) fmt::print(stderr, "atoll: {}\n", fetched.error().message);
  if (oci::ImageStore(config.images_dir).Find(config.image)) {
    fmt::print(stderr, "The image is there: {}/{}\n", config.images_dir, config.image);
  } else {
    ASSIGN(int built, ImageBuild(globals, config.image, std::string(), false));
    if (built != 0) return built;
  }
  return fetched ? 0 : 1;
}

}  // namespace atl::cli
