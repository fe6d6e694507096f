// SPDX-License-Identifier: Apache-2.0
// setup: what `atoll serve` needs beside the program: OpenCode and an image; CRIU if it is wanted.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <string_view>

#include "cli/verbs.h"
#include "oci/criu.h"
#include "oci/image.h"
#include "sys/fd.h"
#include "sys/process.h"

namespace atl::cli {
namespace {

constexpr std::chrono::minutes kFetchLimit{30};
constexpr std::string_view kOpencodeDir = "/opencode";

Result<void> RunScript(const std::string& name, const std::string& argument) {
  ASSIGN(std::string script, FindShared(name));
  sys::Command command{.argv = {script, argument},
                       .stdout_fd = STDERR_FILENO,
                       .stderr_fd = STDERR_FILENO,
                       .timeout = kFetchLimit};
  ASSIGN(sys::Finished finished, sys::Run(command));
  if (finished.exit_code == 0) return {};
  return Fail(Code::kInternal, fmt::format("{} ended with code {}; what it says stands above",
                                           script, finished.exit_code));
}

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
  TRY(RunScript("scripts/fetch_opencode.sh", parent));
  fmt::print(stderr, "OpenCode is there: {}\n", config.opencode_binary());
  return {};
}

// Without it nothing is missing that would always be there.
Result<void> OfferCriu(const daemon::Config& config, bool build) {
  if (build) {
    TRY(sys::MakeDirs(config.state_dir, 0711));
    return RunScript("scripts/build_criu.sh", config.state_dir);
  }
  Result<std::string> found = oci::FindCriu(config.pool.criu, config.state_dir);
  if (found) {
    fmt::print(stderr, "CRIU is there: {}\n", *found);
  } else {
    fmt::print(stderr,
               "There is no CRIU that works, so OpenCode boots in every sandbox: `atoll setup "
               "--criu` builds one\n");
  }
  return {};
}

}  // namespace

Result<int> Setup(const Globals& globals, bool criu) {
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
  Result<void> offered = OfferCriu(config, criu);
  if (!offered) fmt::print(stderr, "atoll: {}\n", offered.error().message);
  return fetched && offered ? 0 : 1;
}

}  // namespace atl::cli
