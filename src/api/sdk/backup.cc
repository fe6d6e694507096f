// SPDX-License-Identifier: Apache-2.0
// Archives of a directory are snapshots here. The path that the SDK gives an archive is the name of
// its snapshot: nothing is written into the sandbox.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "repository/repository.h"
#include "sandbox/exec.h"
#include "sandbox/files.h"
#include "snapshot/vault.h"

namespace atl::api::sdk {
namespace {

constexpr std::string_view kLabel = "sdk-archive";
constexpr size_t kMostPatterns = 100;
// What each costs is paid for every name that is looked at.
constexpr size_t kMostPatternBytes = 1024;
constexpr size_t kMostParts = 16;
constexpr size_t kMostLeftOut = 20'000;
constexpr size_t kMostIgnored = 8UL << 20U;
constexpr std::chrono::seconds kIgnoredLimit{60};
constexpr std::chrono::milliseconds kListAge{1000};

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "INVALID_BACKUP_CONFIG");
}

struct Wanted {
  std::string dir;
  std::string archive;
  std::vector<std::string> excludes;
  bool gitignore = false;
};

Result<std::string> AbsoluteIn(const json::Object& body, std::string_view field) {
  ASSIGN(std::string path, RequiredText(body, field));
  bool has_parent = path.contains("/../") || path.ends_with("/..");
  if (path.starts_with('/') && !has_parent && path.size() <= 256) return path;
  return Invalid(
      fmt::format("\"{}\" must be an absolute path of at most 256 bytes without \"..\"", field));
}

Result<Wanted> Parse(Call& call) {
  Wanted wanted;
  ASSIGN(wanted.dir, AbsoluteIn(call.body, "dir"));
  ASSIGN(wanted.archive, AbsoluteIn(call.body, "archivePath"));
  call.About("dir", wanted.dir);
  call.About("backupId", wanted.archive);
  ASSIGN(auto excludes, call.body.OptionalTextList("excludes"));
  if (excludes) wanted.excludes = *std::move(excludes);
  if (wanted.excludes.size() > kMostPatterns) {
    return Invalid(fmt::format("\"excludes\" has more than {} patterns", kMostPatterns));
  }
  ASSIGN(std::optional<bool> gitignore, call.body.OptionalBool("gitignore"));
  wanted.gitignore = gitignore.value_or(false);
  // How it is compressed is the repository's.
  ASSIGN(std::optional<json::Object> compression, call.body.OptionalObject("compression"));
  (void)compression;
  return wanted;
}

// As mksquashfs takes a pattern once the SDK has taken the globstars out: what it matches is left
// out wherever it is, with what is in it; a wildcard is one within a name.
Result<std::vector<std::string>> PartsOf(std::string_view pattern) {
  if (pattern.size() > kMostPatternBytes) {
    return Invalid(
        fmt::format("a pattern of \"excludes\" has more than {} bytes", kMostPatternBytes));
  }
  std::vector<std::string> parts;
  for (auto one : std::views::split(pattern, '/')) {
    std::string_view part(one.begin(), one.end());
    if (part.empty() || part == "." || part == "**") continue;
    if (part == "..") return Invalid("\"excludes\" are patterns of what is below \"dir\"");
    parts.emplace_back(part);
  }
  if (parts.size() > kMostParts) {
    return Invalid(fmt::format("a pattern of \"excludes\" has more than {} names", kMostParts));
  }
  return parts;
}

// Whether the last names of a path are these.
bool EndsIn(std::string_view path, const std::vector<std::string>& parts) {
  for (const std::string& part : std::views::reverse(parts)) {
    if (path.empty()) return false;
    size_t slash = path.rfind('/');
    std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
    if (fnmatch(part.c_str(), name.c_str(), 0) != 0) return false;
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  }
  return true;
}

Result<void> CheckCount(const std::vector<std::string>& left_out) {
  if (left_out.size() <= kMostLeftOut) return {};
  return Fail(Code::kTooLarge, fmt::format("more than {} places would be left out", kMostLeftOut),
              "BACKUP_CREATE_FAILED");
}

async::Task<Result<void>> AddMatches(sandbox::AgentClient& agent, async::BlockingPool& pool,
                                     const Wanted& wanted, const std::vector<std::string>& parts,
                                     std::vector<std::string>& left_out) {
  sandbox::ListFiles what{.path = wanted.dir,
                          .user = {},
                          .max_depth = sandbox::kAnyDepth,
                          .hidden = true,
                          .limit = sandbox::kMostListed,
                          .after = {},
                          .name = parts.back()};
  CO_ASSIGN(sandbox::Listing listing, co_await sandbox::List(agent, std::move(what)));
  if (listing.more) left_out.resize(kMostLeftOut + 1);
  CO_TRY(CheckCount(left_out));
  auto match = [&] {
    for (const sandbox::FileEntry& entry : listing.entries) {
      if (EndsIn(entry.path, parts)) left_out.push_back(Joined(listing.dir, entry.path));
    }
  };
  co_await pool.Run(match);
  co_return CheckCount(left_out);
}

// What git would not keep; nothing where there is no git or no repository.
async::Task<Result<void>> AddIgnored(sandbox::AgentClient& agent, const Wanted& wanted,
                                     std::vector<std::string>& left_out) {
  sandbox::ExecRequest request;
  request.argv = {"git",
                  "-C",
                  wanted.dir,
                  "-c",
                  "core.fsmonitor=false",
                  "ls-files",
                  "--others",
                  "--ignored",
                  "--exclude-standard",
                  "--directory",
                  "-z",
                  "--",
                  "."};
  request.cwd = "/";
  request.timeout = kIgnoredLimit;
  auto execution = co_await sandbox::StartExec(agent, std::move(request));
  if (!execution) co_return Result<void>();
  CO_ASSIGN(sandbox::Captured captured, co_await sandbox::Capture(**execution, kMostIgnored));
  if (captured.outcome.exit_code != 0) co_return Result<void>();
  if (captured.out_truncated) left_out.resize(kMostLeftOut + 1);
  for (auto part : std::views::split(captured.out, '\0')) {
    std::string_view path(part.begin(), part.end());
    while (path.ends_with('/')) path.remove_suffix(1);
    if (!path.empty()) left_out.push_back(Joined(wanted.dir, path));
  }
  co_return CheckCount(left_out);
}

async::Task<Result<std::vector<std::string>>> LeftOut(sandbox::AgentClient& agent,
                                                      async::BlockingPool& pool,
                                                      const Wanted& wanted) {
  std::vector<std::string> left_out;
  for (const std::string& given : wanted.excludes) {
    CO_ASSIGN(std::vector<std::string> parts, PartsOf(given));
    if (parts.empty()) continue;
    CO_TRY(co_await AddMatches(agent, pool, wanted, parts, left_out));
  }
  if (wanted.gitignore) {
    CO_TRY(co_await AddIgnored(agent, wanted, left_out));
  }
  co_return left_out;
}

async::Task<Result<std::string>> DoCreate(Call& call) {
  CO_ASSIGN(Wanted wanted, Parse(call));
  for (const std::string& pattern : wanted.excludes) {
    CO_TRY(PartsOf(pattern));
  }
  sandbox::SnapshotRequest request;
  request.dir = wanted.dir;
  request.name = wanted.archive;
  request.labels = {std::string(kLabel)};
  {
    CO_ASSIGN(auto sandbox, co_await Use(call));
    CO_ASSIGN(request.exclude,
              co_await LeftOut(sandbox->agent(), call.services.registry.blocking(), wanted));
  }
  auto taken = co_await call.services.registry.Snapshot(call.id, std::move(request));
  if (!taken) {
    Error error = std::move(taken).error();
    bool missing = ReasonOf(error) == "NOT_FOUND" || ReasonOf(error) == "DIRECTORY_NOT_FOUND";
    if (missing) error.reason = "FILE_NOT_FOUND";
    co_return Unexpected(std::move(error));
  }
  json::Writer writer = Success();
  writer.Field("sizeBytes", taken->bytes_total).Field("archivePath", wanted.archive);
  writer.Field("snapshotId", taken->record.id().Hex());
  co_return Finished(writer);
}

// The newest snapshot that this archive of this sandbox is.
Result<std::string> Find(const Services& services, const std::string& id,
                         const std::string& archive) {
  ASSIGN(snapshot::Vault::Repo repository, services.registry.vault().GetFresh(kListAge));
  std::vector<repository::SnapshotRecord> all = repository->Snapshots();
  for (const repository::SnapshotRecord& record : std::views::reverse(all)) {
    repository::Tags tags = record.decoded_tags();
    bool labelled = std::ranges::find(tags.labels, kLabel) != tags.labels.end();
    if (labelled && tags.sandbox == id && tags.name == archive) return record.id().Hex();
  }
  return Fail(Code::kNotFound, fmt::format("there is no archive {}", archive), "BACKUP_NOT_FOUND");
}

async::Task<Result<std::string>> DoRestore(Call& call) {
  CO_ASSIGN(Wanted wanted, Parse(call));
  auto find = [&] { return Find(call.services, call.id, wanted.archive); };
  sandbox::RestoreRequest request;
  CO_ASSIGN(request.snapshot_id, co_await call.services.registry.transfers().Run(find));
  request.dir = wanted.dir;
  CO_TRY(co_await Use(call));
  CO_TRY(co_await call.services.registry.Restore(call.id, std::move(request)));
  json::Writer writer = Success();
  writer.Field("dir", wanted.dir);
  co_return Finished(writer);
}

}  // namespace

async::Task<> CreateBackup(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCreate, services, std::move(values), exchange);
}

async::Task<> RestoreBackup(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoRestore, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
