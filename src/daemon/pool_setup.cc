// SPDX-License-Identifier: Apache-2.0
#include "daemon/pool_setup.h"

#include "opencode/launch.h"
#include "opencode/randomness.h"
#include "sandbox/registry.h"

namespace atl::daemon {
namespace {

async::Task<> EndOpencode(std::shared_ptr<sandbox::Sandbox> sandbox) {
  co_await opencode::End(sandbox->agent());
}

async::Task<Result<std::vector<std::string>>> Draw(std::shared_ptr<sandbox::Sandbox> sandbox) {
  Result<std::vector<std::string>> drawn = co_await opencode::DrawIds(sandbox->agent());
  co_return drawn;
}

async::Task<Result<std::string>> DrawUnseen(std::shared_ptr<sandbox::Sandbox> sandbox) {
  Result<std::string> drawn = co_await opencode::DrawEventId(sandbox->agent());
  co_return drawn;
}

async::Task<Result<bool>> Runs(std::shared_ptr<sandbox::Sandbox> sandbox) {
  Result<bool> runs = co_await opencode::IsRunning(sandbox->agent());
  co_return runs;
}

}  // namespace

opencode::Options OpencodeOptions(const Config& config) {
  using Protocol = egress::ModelOptions::Protocol;
  opencode::Options options;
  options.model = config.model.model;
  options.small_model = config.model.small_model;
  if (config.model.upstream.protocol == Protocol::kAnthropic) {
    options.provider = opencode::Options::Provider::kAnthropic;
  } else if (config.model.upstream.protocol == Protocol::kOpenAi) {
    options.provider = opencode::Options::Provider::kOpenAi;
  }
  return options;
}

sandbox::PoolOptions PoolOptionsOf(const Config& config) {
  sandbox::PoolOptions pool = config.pool;
  if (config.opencode_binary().empty()) pool.opencode = false;
  if (!pool.opencode) pool.templates = false;
  return pool;
}

sandbox::PoolHooks PoolHooksOf(const Config& config, opencode::Servers& servers) {
  sandbox::PoolHooks hooks;
  hooks.warm = [&servers](std::shared_ptr<sandbox::Sandbox> sandbox) {
    return servers.Prepare(std::move(sandbox));
  };
  hooks.cool = EndOpencode;
  hooks.claimed = [&servers](std::string id) { servers.NotePrepared(std::move(id)); };
  hooks.draw = [](std::shared_ptr<sandbox::Sandbox> sandbox) { return Draw(std::move(sandbox)); };
  hooks.unseed = opencode::UseUpRandomness;
  hooks.keeps_state_in = [](std::string_view dir) { return opencode::KeepsStateIn(dir); };
  if (PoolOptionsOf(config).opencode) {
    hooks.suits = opencode::CanDoWithout;
    hooks.identity = opencode::ServerIdentity(OpencodeOptions(config));
  }
  return hooks;
}

sandbox::ForkHooks ForkHooksOf(opencode::Servers& servers) {
  sandbox::ForkHooks hooks;
  hooks.runs = [](std::shared_ptr<sandbox::Sandbox> sandbox) { return Runs(std::move(sandbox)); };
  hooks.draw = [](std::shared_ptr<sandbox::Sandbox> sandbox) {
    return DrawUnseen(std::move(sandbox));
  };
  hooks.unseed = opencode::UseUpRandomnessDrawn;
  hooks.end = EndOpencode;
  hooks.made = [&servers](std::string id) { servers.NotePrepared(std::move(id)); };
  return hooks;
}

}  // namespace atl::daemon
