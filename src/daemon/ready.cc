// SPDX-License-Identifier: Apache-2.0
#include "daemon/ready.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "metrics/atoll.h"
#include "oci/image.h"
#include "sandbox/state.h"
#include "sys/process.h"

namespace atl::daemon {
namespace {

// Below this the database and snapshots are at risk. A small disk keeps a twentieth.
constexpr uint64_t kReserveBytes = 1ULL << 30U;
constexpr uint64_t kReserveShare = 20;
constexpr std::chrono::milliseconds kRuntimeLimit{2'000};

// Takes the write lock and gives it back.
Result<std::string> CheckDatabase(db::Database& database) {
  ASSIGN(db::Transaction transaction, database.Begin());
  return "writable";
}

Result<std::string> CheckRuntime() {
  sys::Command command{.argv = {"crun", "--version"}, .timeout = kRuntimeLimit};
  ASSIGN(std::string version, sys::RunChecked(command));
  return version.substr(0, version.find('\n'));
}

Result<std::string> CheckDisk(const std::string& dir) {
  struct statvfs disk{};
  if (::statvfs(dir.c_str(), &disk) != 0) {
    return FailErrno(errno, fmt::format("look at the file system of {}", dir));
  }
  uint64_t free = disk.f_bavail * disk.f_frsize;
  uint64_t reserve = std::min(kReserveBytes, disk.f_blocks * disk.f_frsize / kReserveShare);
  std::string found = fmt::format("{} MB are free where {} is", free / 1'000'000, dir);
  if (free < reserve) {
    return Fail(Code::kResourceExhausted,
                fmt::format("{}; at least {} MB should be", found, reserve / 1'000'000));
  }
  // A file system without a fixed number of inodes counts none.
  if (disk.f_files != 0 && disk.f_favail == 0) {
    return Fail(Code::kResourceExhausted, fmt::format("no inodes are free where {} is", dir));
  }
  return found;
}

Result<std::string> CheckImage(const Config& config) {
  Result<oci::Image> image = oci::ImageStore(config.images_dir).Find(config.image);
  if (image) return config.image;
  Error error = std::move(image).error();
  error.message += fmt::format("; make it: atoll image build {}", config.image);
  return Unexpected(std::move(error));
}

Result<std::string> CheckSandboxes(const sandbox::Registry& registry) {
  if (!registry.reconciled()) {
    return Fail(Code::kUnavailable, "those of an earlier daemon are still being adopted");
  }
  return fmt::format("{} are known", registry.List().size());
}

}  // namespace

std::vector<api::ReadyCheck> ReadyChecks(const Config& config, db::Database& database,
                                         const oci::Launcher& launcher,
                                         const sandbox::Registry& registry) {
  std::vector<api::ReadyCheck> checks;
  auto add = [&checks](std::string name, std::function<Result<std::string>()> look) {
    checks.push_back({.name = std::move(name), .look = std::move(look)});
  };
  add("database", [&database] { return CheckDatabase(database); });
  add("cgroup", [&launcher]() -> Result<std::string> {
    TRY(launcher.cgroups().CheckWritable());
    return std::string(sys::CgroupModeName(launcher.cgroups().mode()));
  });
  add("runtime", CheckRuntime);
  add("image", [&config] { return CheckImage(config); });
  add("disk", [&config] { return CheckDisk(config.state_dir); });
  add("sandboxes", [&registry] { return CheckSandboxes(registry); });
  return checks;
}

void MeasureSandboxes(const sandbox::Registry& registry) {
  auto count = [&registry] {
    using sandbox::State;
    std::map<State, double> counts;
    for (State state : {State::kCreating, State::kRunning, State::kPaused, State::kStopping,
                        State::kStopped, State::kRestoring, State::kFailed, State::kDeleting}) {
      counts[state] = 0;
    }
    for (const sandbox::Info& info : registry.List()) ++counts[info.state];
    std::vector<metrics::Sample> samples;
    for (const auto& [state, number] : counts) {
      std::string name(sandbox::StateName(state));
      samples.push_back({.labels = {{"state", std::move(name)}}, .value = number});
    }
    return samples;
  };
  metrics::Get().set.AddCollected("atoll_sandboxes", "Sandboxes by state.", metrics::Type::kGauge,
                                  std::move(count));
}

}  // namespace atl::daemon
