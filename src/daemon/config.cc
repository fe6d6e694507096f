// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <set>

#include "daemon/bucket_config.h"
#include "http/message.h"
#include "opencode/server.h"
#include "sandbox/registry.h"
#include "snapshot/policy.h"
#include "sys/fd.h"

namespace atl::daemon {
namespace {

Result<std::pair<toml::table, std::string>> ReadFile(const std::string& file) {
  std::vector<std::string> candidates = {"./atoll.toml", "/etc/atoll/atoll.toml"};
  if (!file.empty()) candidates = {file};
  for (const std::string& candidate : candidates) {
    Result<std::string> text = sys::ReadFile(candidate, 1U << 20U);
    if (!text) {
      if (file.empty() && text.error().code == Code::kNotFound) continue;
      // It may hold keys that are not everybody's. A client asks the daemon that is where it
      // usually is.
      if (file.empty() && text.error().sys_errno == EACCES && ::geteuid() != 0) continue;
      return std::unexpected(std::move(text).error().Wrap("read the configuration"));
    }
    try {
      return std::pair(toml::parse(*text, candidate), candidate);
    } catch (const toml::parse_error& error) {
      return Fail(
          Code::kInvalidArgument,
          fmt::format("{}:{}: {}", candidate, error.source().begin.line, error.description()),
          "BAD_CONFIG");
    }
  }
  return std::pair(toml::table(), std::string("configuration"));
}

Result<void> ReadPorts(Source& source, std::vector<uint16_t>& into) {
  std::vector<std::string> texts;
  TRY(source.ReadList("egress", "host_ports", texts));
  for (const std::string& text : texts) {
    uint16_t port = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port == 0) {
      return Bad("[egress]", "host_ports", "must be a list of ports from 1 to 65535");
    }
    into.push_back(port);
  }
  return {};
}

std::string FirstOf(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    std::optional<std::string> value = environment(name);
    if (value && !value->empty()) return *value;
  }
  return {};
}

using Protocol = egress::ModelOptions::Protocol;

// Who speaks for the model: said outright, or told by which key or address there is.
Result<Protocol> ChooseProtocol(const std::string& provider, const egress::ModelOptions& upstream,
                                const Environment& environment) {
  if (provider == "anthropic") return Protocol::kAnthropic;
  if (provider == "openai") return Protocol::kOpenAi;
  if (!provider.empty()) {
    return Bad("[model]", "provider", R"(must be "anthropic" or "openai")");
  }
  if (!upstream.base_url.empty()) return Protocol::kOpenAi;
  if (!FirstOf(environment, {"ANTHROPIC_API_KEY"}).empty()) return Protocol::kAnthropic;
  if (!FirstOf(environment, {"OPENAI_API_KEY"}).empty()) return Protocol::kOpenAi;
  if (!upstream.api_key.empty()) return Protocol::kAnthropic;
  return Protocol::kNone;
}

Result<void> ReadModel(Source& source, const Environment& environment, ModelConfig& model) {
  std::string provider;
  TRY(source.Read("model", "provider", provider));
  TRY(source.Read("model", "base_url", model.upstream.base_url));
  TRY(source.Read("model", "api_key", model.upstream.api_key));
  TRY(source.Read("model", "model", model.model));
  TRY(source.Read("model", "small_model", model.small_model));
  ASSIGN(model.upstream.protocol, ChooseProtocol(provider, model.upstream, environment));
  if (model.upstream.protocol == Protocol::kNone) return {};
  bool anthropic = model.upstream.protocol == Protocol::kAnthropic;
  if (model.upstream.api_key.empty()) {
    model.upstream.api_key =
        FirstOf(environment, {anthropic ? "ANTHROPIC_API_KEY" : "OPENAI_API_KEY"});
  }
  bool own_address = !model.upstream.base_url.empty();
  if (!own_address) {
    model.upstream.base_url =
        FirstOf(environment, {anthropic ? "ANTHROPIC_BASE_URL" : "OPENAI_BASE_URL"});
    own_address = !model.upstream.base_url.empty();
  }
  if (!own_address) {
    model.upstream.base_url = anthropic ? "https://api.anthropic.com" : "https://api.openai.com/v1";
  }
  if (!model.upstream.base_url.starts_with("http://") &&
      !model.upstream.base_url.starts_with("https://")) {
    return Bad("[model]", "base_url", "must begin with http:// or https://");
  }
  if (model.model.empty() && own_address && !anthropic) {
    return Bad("[model]", "model", "must be set where base_url is");
  }
  if (model.model.empty()) model.model = anthropic ? "claude-sonnet-4-5" : "gpt-5";
  if (model.small_model.empty()) {
    bool known = model.model == "claude-sonnet-4-5" || model.model == "gpt-5";
    model.small_model = !known ? model.model : (anthropic ? "claude-haiku-4-5" : "gpt-5-mini");
  }
  return {};
}

Result<void> RequireAbsolute(std::string_view key, const std::string& path) {
  if (path.starts_with('/') && path.find('\0') == std::string::npos) return {};
  return Bad("configuration", key, fmt::format("must be an absolute path, not \"{}\"", path));
}

// "10m", a number of seconds, or "off".
Result<void> ReadIdle(Source& source, std::string_view key, std::chrono::seconds& into) {
  std::string text;
  TRY(source.Read("sleep", key, text));
  if (text.empty()) return {};
  auto duration = snapshot::ParseDuration(text);
  if (!duration) return Bad("[sleep]", key, duration.error().message);
  into = *duration;
  return {};
}

// .dev.vars lies beside the process; what the real environment says goes before it.
Result<Environment> WithDevVars(const Environment& environment) {
  Result<std::string> text = sys::ReadFile(".dev.vars", 1U << 20U);
  if (!text && text.error().code != Code::kNotFound) {
    return std::unexpected(std::move(text).error());
  }
  std::map<std::string, std::string> variables;
  if (text) {
    for (auto& [key, value] : ParseDevVars(*text)) variables[key] = value;
  }
  return Environment(
      [environment, variables](const std::string& name) -> std::optional<std::string> {
        if (std::optional<std::string> value = environment(name)) return value;
        auto found = variables.find(name);
        return found == variables.end() ? std::nullopt : std::optional(found->second);
      });
}

// What stands behind `<id>.` in a host name.
Result<void> ValidateDomain(const std::string& domain) {
  bool clean = !domain.empty() && domain.size() <= 200 && domain.front() != '.' &&
               domain.back() != '.' && std::ranges::all_of(domain, [](char c) {
                 return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
               });
  if (!clean) {
    return Bad("configuration", "domain", "must be a host name in lower case, without a port");
  }
  // OpenCode's UI takes such a host for its own service and talks to localhost:4096 instead.
  if (domain.find("opencode.ai") != std::string::npos) {
    return Bad("configuration", "domain", "must not contain opencode.ai");
  }
  return {};
}

}  // namespace

std::string Config::opencode_binary() const {
  std::string path = fmt::format("{}/{}/opencode", opencode_dir, opencode::kVersion);
  return ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

std::string Config::opencode_ui_dir() const {
  return fmt::format("{}/ui-{}", opencode_dir, opencode::kVersion);
}

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Result<Config> LoadConfig(const std::string& file, const Environment& process_environment) {
  ASSIGN(Environment environment, WithDevVars(process_environment));
  ASSIGN(auto read, ReadFile(file));
  Source source(std::move(read.first), read.second, environment);
  Config config;
  TRY(source.ReadList("", "listen", config.listen));
  TRY(source.Read("", "domain", config.domain));
  TRY(source.Read("", "state_dir", config.state_dir));
  TRY(source.Read("", "run_dir", config.run_dir));
  TRY(source.Read("", "log_level", config.log_level));
  TRY(source.Read("", "log_format", config.log_format));
  TRY(source.Read("sandbox", "image", config.image));
  TRY(source.ReadBytes("sandbox", "memory", config.memory_bytes));
  TRY(source.Read("sandbox", "cpus", config.cpus, 0.01, 1024));
  auto pids = static_cast<double>(config.pids);
  TRY(source.Read("sandbox", "pids", pids, 16, 4'000'000));
  config.pids = static_cast<uint64_t>(pids);
  TRY(source.Read("sandbox", "cgroup", config.cgroup));
  TRY(source.Read("sandbox", "cgroup_favordynmods", config.cgroup_favordynmods));
  TRY(source.Read("sandbox", "images_dir", config.images_dir));
  TRY(source.Read("sandbox", "opencode_dir", config.opencode_dir));
  TRY(ReadPorts(source, config.host_ports));
  TRY(source.ReadList("egress", "nameservers", config.nameservers));
  TRY(source.ReadList("egress", "deny", config.deny));
  TRY(ReadModel(source, environment, config.model));
  TRY(RequireAbsolute("state_dir", config.state_dir));
  ASSIGN(config.snapshots, ReadSnapshots(source, environment, config.state_dir));
  ASSIGN(config.limits, ReadLimits(source));
  TRY(ReadIdle(source, "after", config.sleep.after));
  TRY(ReadIdle(source, "stop_after", config.sleep.stop_after));
  TRY(source.Read("sleep", "keep_alive", config.sleep.keep_alive));
  TRY(source.Read("sleep", "busy_cpus", config.busy_cpus, 0, 1024));
  TRY(ReadIdle(source, "reclaim_after", config.reclaim_after));
  TRY(source.Read("sleep", "keep_memory", config.keep_memory));
  TRY(source.Read("sleep", "event_stream_is_activity", config.event_stream_is_activity));
  ASSIGN(config.pool, ReadPool(source));
  ASSIGN(config.buckets, ReadBuckets(source));
  TRY(source.RefuseUnknown());
  if (config.images_dir.empty()) config.images_dir = config.state_dir + "/images";
  if (config.opencode_dir.empty()) config.opencode_dir = config.state_dir + "/opencode";
  TRY(ValidateDomain(config.domain));
  TRY(RequireAbsolute("state_dir", config.state_dir));
  TRY(RequireAbsolute("run_dir", config.run_dir));
  TRY(RequireAbsolute("images_dir", config.images_dir));
  TRY(RequireAbsolute("opencode_dir", config.opencode_dir));
  return config;
}

std::vector<std::pair<std::string, std::string>> ParseDevVars(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> variables;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = http::Trim(line);
    if (line.starts_with("export ")) line = http::Trim(line.substr(7));
    size_t equals = line.find('=');
    if (line.starts_with('#') || equals == std::string_view::npos || equals == 0) continue;
    std::string_view value = http::Trim(line.substr(equals + 1));
    bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
                  value.back() == value.front();
    if (quoted) value = value.substr(1, value.size() - 2);
    variables.emplace_back(http::Trim(line.substr(0, equals)), value);
  }
  return variables;
}

Result<std::vector<async::Endpoint>> ListenEndpoints(const Config& config) {
  std::vector<async::Endpoint> endpoints;
  for (const std::string& text : config.listen) {
    Result<async::Endpoint> endpoint = async::ParseEndpoint(text);
    if (!endpoint) return std::unexpected(std::move(endpoint).error().Wrap("listen"));
    bool loopback = endpoint->address == "::1" || endpoint->address.starts_with("127.");
    if (!loopback) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("listen: {} is not a loopback address, and whoever reaches Atoll can "
                              "run programs; listen on 127.0.0.1 or [::1] and put what "
                              "authenticates in front of it",
                              text),
                  "BAD_CONFIG");
    }
    endpoints.push_back(std::move(*endpoint));
  }
  if (endpoints.empty()) {
    return Fail(Code::kInvalidArgument, "listen: name at least one address", "BAD_CONFIG");
  }
  return endpoints;
}

}  // namespace atl::daemon
