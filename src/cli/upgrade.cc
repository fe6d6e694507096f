// SPDX-License-Identifier: Apache-2.0
// upgrade: the program that lies on the disk now takes the place of the running daemon.
#include <fmt/format.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <thread>

#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

using std::chrono::steady_clock;

// A little more than the daemons give each other.
constexpr std::chrono::seconds kLimit{150};
constexpr std::chrono::milliseconds kPause{50};

// The process that holds the run directory.
Result<pid_t> Holder(const std::string& run_dir) {
  auto text = sys::ReadFile(run_dir + "/lock", 64);
  pid_t pid = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), pid);
  if (pid <= 1 || ::kill(pid, 0) != 0) {
    return Fail(Code::kUnavailable,
                fmt::format("no daemon runs on {}; start it: atoll serve", run_dir));
  }
  return pid;
}

// Changes when a daemon says where it serves: each says so in a file of its own, which takes the
// place of the last.
std::string AddressFile(const std::string& run_dir) {
  struct stat st{};
  if (::stat((run_dir + "/address").c_str(), &st) != 0) return {};
  return fmt::format("{} {}.{:09}", st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

}  // namespace

Result<int> Upgrade(const Globals& globals) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  ASSIGN(pid_t before, Holder(config.run_dir));
  const std::string said = AddressFile(config.run_dir);
  if (::kill(before, SIGUSR2) != 0) {
    return FailErrno(errno, fmt::format("tell the daemon, pid {}, to give its place", before));
  }
  auto until = steady_clock::now() + kLimit;
  while (steady_clock::now() < until) {
    std::this_thread::sleep_for(kPause);
    // Looked at first: who says so holds the directory before.
    bool says_so = AddressFile(config.run_dir) != said;
    auto now = Holder(config.run_dir);
    if (now && *now == before && says_so) break;
    if (!now || *now == before) continue;
    ASSIGN(ApiClient client, ApiClient::Connect(globals));
    if (!client.Call("GET", "/health")) continue;
    if (globals.json) {
      json::Writer writer;
      writer.BeginObject().Field("pid", int64_t{*now}).Field("before", int64_t{before}).EndObject();
      fmt::print("{}\n", writer.Take());
    } else {
      fmt::print("pid {} serves now; pid {} ends with its last stream\n", *now, before);
    }
    return 0;
  }
  return Fail(
      Code::kUnavailable,
      fmt::format("the daemon, pid {}, goes on; its log says why no other took over", before));
}

}  // namespace atl::cli
