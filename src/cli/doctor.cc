// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/verbs.h"
#include "json/writer.h"
#include "oci/bucket_client.h"
#include "oci/criu.h"
#include "oci/probe.h"
#include "sys/cgroup_moves.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

void AddFile(std::vector<oci::Check>& checks, std::string name, const std::string& path,
             const std::string& remedy) {
  bool there = !path.empty() && ::access(path.c_str(), F_OK) == 0;
  checks.push_back(
      {.name = std::move(name), .ok = there, .required = false, .detail = there ? path : remedy});
}

// One that nobody chose and that Atoll did not build.
std::string SayCriu(const daemon::Config& config, const std::string& path) {
  bool ours = path == config.pool.criu || path.starts_with(config.state_dir + "/") ||
              path.starts_with("/usr/lib/atoll/");
  if (ours) return path;
  return path +
         ", without Atoll's patches: memory of what has connections is not kept or forked "
         "(`atoll setup --criu` builds one that can)";
}

// What a file system can do is asked of the one that the layers of sandboxes are on, or will be.
std::vector<oci::Check> ProbeWhereSandboxesAre(const std::string& state_dir) {
  std::filesystem::path parent = state_dir;
  std::error_code ignored;
  while (!std::filesystem::is_directory(parent, ignored) && parent.has_relative_path()) {
    parent = parent.parent_path();
  }
  std::string scratch = (parent / ".atoll-doctor-XXXXXX").string();
  // Where none can be made, the check of the scratch directory says why.
  bool made = ::mkdtemp(scratch.data()) != nullptr;
  std::vector<oci::Check> checks = oci::ProbeHost(made ? scratch : parent.string());
  if (made) (void)sys::RemoveTree(scratch);
  return checks;
}

}  // namespace

Result<int> Doctor(const Globals& globals) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  std::vector<oci::Check> checks = ProbeWhereSandboxesAre(config.state_dir);
  Result<bool> favored = sys::FavorsCgroupMoves();
  checks.push_back({.name = "quick moves between cgroups",
                    .ok = favored && *favored,
                    .required = false,
                    .detail = !favored   ? favored.error().message
                              : *favored ? "favordynmods"
                                         : "the daemon switches favordynmods on when it starts"});
  AddFile(checks, "default image", fmt::format("{}/{}/rootfs", config.images_dir, config.image),
          fmt::format("not there: make it with `atoll image build {}`", config.image));
  AddFile(checks, "OpenCode", config.opencode_binary(),
          fmt::format("not in {}: fetch it with `atoll setup`", config.opencode_dir));
  std::string ui = config.opencode_ui_dir() + "/manifest.json";
  AddFile(checks, "OpenCode's page", ui, "not kept, so it waits for OpenCode: run `atoll setup`");
  Result<std::string> criu = oci::FindCriu(config.pool.criu, config.state_dir);
  checks.push_back({.name = "booted templates (CRIU)",
                    .ok = criu.has_value(),
                    .required = false,
                    .detail = criu ? SayCriu(config, *criu) : criu.error().message});
  Result<void> buckets = oci::BucketClients::Available();
  checks.push_back({.name = "buckets (s3fs)",
                    .ok = buckets.has_value(),
                    .required = false,
                    .detail = buckets ? "they can be mounted into sandboxes"
                                      : buckets.error().message + ": apt-get install s3fs"});
  bool configured = !config.model.upstream.api_key.empty();
  checks.push_back({.name = "model provider",
                    .ok = configured,
                    .required = false,
                    .detail = configured ? config.model.upstream.base_url
                                         : "no key: set ANTHROPIC_API_KEY or [model]"});
  bool good = true;
  for (const oci::Check& check : checks) good = good && (check.ok || !check.required);
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Field("ok", good).Key("checks").BeginArray();
    for (const oci::Check& check : checks) {
      writer.BeginObject()
          .Field("name", check.name)
          .Field("ok", check.ok)
          .Field("required", check.required)
          .Field("detail", check.detail)
          .EndObject();
    }
    writer.EndArray().EndObject();
    fmt::print("{}\n", writer.Take());
  } else {
    for (const oci::Check& check : checks) {
      std::string_view mark = check.ok ? "ok" : (check.required ? "MISSING" : "no");
      fmt::print("{:<8} {:<28} {}\n", mark, check.name, check.detail);
    }
  }
  return good ? 0 : 1;
}

}  // namespace atl::cli
