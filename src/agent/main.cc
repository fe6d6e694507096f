// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "agent/fuse_descriptor.h"
#include "agent/serve.h"
#include "agent/settle.h"

namespace {

constexpr const char* kUsage =
    "usage: atoll-agent serve [--listen-fd N] [--cgroup-fds N] [--dial descriptor|relay]\n"
    "                         [--log-dir DIR]\n"
    "       atoll-agent settle DIR... | hold | version\n"
    "The agent runs inside a sandbox; the daemon starts it.\n";

int Usage() {
  std::fputs(kUsage, stderr);
  return 2;
}

int ServeMain(const std::vector<std::string>& arguments) {
  atl::agent::ServeOptions options;
  for (size_t i = 2; i < arguments.size(); i += 2) {
    if (i + 1 == arguments.size()) return Usage();
    const std::string& value = arguments[i + 1];
    if (arguments[i] == "--listen-fd") {
      options.listen_fd = std::atoi(value.c_str());
    } else if (arguments[i] == "--cgroup-fds") {
      options.cgroup_fds = std::atoi(value.c_str());
    } else if (arguments[i] == "--dial" && (value == "relay" || value == "descriptor")) {
      options.dial_mode =
          value == "relay" ? atl::protocol::DialMode::kRelay : atl::protocol::DialMode::kDescriptor;
    } else if (arguments[i] == "--log-dir") {
      options.log_dir = value;
    } else {
      return Usage();
    }
  }
  if (options.listen_fd < 3 || options.cgroup_fds < 0 || options.cgroup_fds > 64) return Usage();
  auto ended = atl::agent::Serve(options);
  std::fprintf(stderr, "atoll-agent: %s\n", ended.error().message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 0 && atl::agent::IsFusermount(argv[0])) return atl::agent::FusermountMain();
  std::vector<std::string> arguments(argv, argv + argc);
  std::string_view verb = argc > 1 ? std::string_view(argv[1]) : std::string_view();
  if (verb == "serve") return ServeMain(arguments);
  if (verb == "settle" && argc > 2) {
    return atl::agent::SettleMain({arguments.begin() + 2, arguments.end()});
  }
  // Keeps the group of a unit of systemd, which is removed when no process is in it.
  if (verb == "hold") {
    for (;;) ::pause();
  }
  if (verb == "version") {
    std::puts(ATOLL_VERSION);
    return 0;
  }
  return Usage();
}
