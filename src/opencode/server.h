// SPDX-License-Identifier: Apache-2.0
// OpenCode inside a sandbox: how it is configured, started and found ready.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/runtime.h"
#include "base/result.h"
#include "opencode/watchdog.h"
#include "sandbox/registry.h"

namespace atl::opencode {

inline constexpr uint16_t kPort = 4096;
inline constexpr std::string_view kVersion = "1.18.33";  // as images/opencode pins it

struct Options {
  enum class Provider { kNone, kAnthropic, kOpenAi };
  Provider provider = Provider::kNone;
  std::string model;        // "claude-sonnet-4-5"; empty: a default of the provider
  std::string small_model;  // for titles; empty: as `model`, or a default of the provider
  std::chrono::milliseconds start_limit{180'000};
  WatchdogOptions watchdog;
};

enum class Status { kStopped, kStarting, kReady, kFailed };
std::string_view StatusName(Status status);

class Servers {
 public:
  Servers(async::Runtime& runtime, sandbox::Registry& registry, Options options);
  ~Servers();
  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

  // Begins to start OpenCode in `id` unless it is starting or ready; does not wait. Concurrent
  // calls share one start. Finds a server that outlived an earlier daemon. One that was ready and
  // ends or hangs while its sandbox runs is started again by itself, each time after a longer
  // pause.
  void Start(std::string id);
  // After the daemon's start: finds the servers that outlived an earlier one.
  async::Task<> Adopt();
  // Starts it where needed and waits until it is healthy. OPENCODE_STARTUP_FAILED (503) otherwise.
  // To `waited` is added what it waited for, the sandbox among it.
  async::Task<Result<void>> WaitReady(std::string id, std::chrono::milliseconds limit,
                                      sandbox::Waited* waited = nullptr);
  // For a sandbox that nobody has yet: starts it and waits until it is healthy, and forgets it.
  async::Task<Result<void>> Prepare(std::shared_ptr<sandbox::Sandbox> sandbox);
  // `id` is a sandbox that was prepared, so that OpenCode runs there already.
  void NotePrepared(std::string_view id);
  Status status(std::string_view id) const;
  // Why the last start failed; empty when it did not.
  std::string failure(std::string_view id) const;
  // Ends OpenCode in `id` and keeps it from starting until Resume, which starts it again if it ran.
  // Calls may nest.
  async::Task<> Suspend(std::string id);
  void Resume(std::string id);
  // The sandbox is called `to` from now on; what is known of its server stays.
  void Rename(std::string_view from, std::string to);
  // The server did not take a connection: it is looked at again before it counts as ready.
  void Doubt(std::string_view id);
  // Another daemon watches them from now on: nothing is started or ended by this one any more.
  void Retire();
  bool retired() const;
  // The sandbox has stopped or is gone: forget what was known.
  void Forget(std::string_view id);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Whether what OpenCode keeps (sessions, keys, configuration) lies in `dir`, or `dir` in that.
bool KeepsStateIn(std::string_view dir);

// Whether a server that runs can be given these variables, in that the shells of its tools see
// them. Those that it may heed itself it has to be started with.
bool CanDoWithout(const std::vector<std::pair<std::string, std::string>>& env);

// Where the UI opens for `dir`: "/<base64url(dir)>/session".
std::string LandingPath(std::string_view dir);
// The inline configuration (OPENCODE_CONFIG_CONTENT).
std::string ConfigContent(const Options& options);

}  // namespace atl::opencode
