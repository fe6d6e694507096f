// SPDX-License-Identifier: Apache-2.0
// The repository of the snapshots, opened here: beside a running daemon, or without one.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

#include "async/runtime.h"
#include "base/shell_quote.h"
#include "cli/progress_bar.h"
#include "cli/verbs.h"
#include "daemon/open_vault.h"
#include "db/database.h"
#include "http/message.h"
#include "json/writer.h"
#include "repository/names.h"
#include "sandbox/rows.h"
#include "snapshot/maintenance.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

constexpr size_t kMaxKeyFile = 64U << 10U;

// The store's connections need event loops, which run beside the command. Everything that uses them
// goes first.
class Loops {
 public:
  Loops() : thread_([this] { runtime_.Run(); }) {}
  ~Loops() { runtime_.Stop(); }
  Loops(const Loops&) = delete;
  Loops& operator=(const Loops&) = delete;
  async::Runtime& runtime() { return runtime_; }

 private:
  async::Runtime runtime_{2, 2};
  std::jthread thread_;
};

struct Opened {
  daemon::Config config;
  std::unique_ptr<Loops> loops;
  std::shared_ptr<blob::Store> store;
  std::unique_ptr<repository::Repository> repository;
};

Result<Opened> OpenStoreOnly(const Globals& globals) {
  Opened opened;
  ASSIGN(opened.config, ConfigOf(globals));
  opened.loops = std::make_unique<Loops>();
  ASSIGN(opened.store, daemon::OpenStore(opened.loops->runtime(), opened.config.snapshots));
  return opened;
}

Result<Opened> OpenRepository(const Globals& globals) {
  ASSIGN(Opened opened, OpenStoreOnly(globals));
  repository::Options options = daemon::RepositoryOptions(opened.config.snapshots);
  ASSIGN(options.password, daemon::SnapshotPassword(opened.config.snapshots, false));
  ASSIGN(opened.repository, repository::Repository::Open(opened.store, std::move(options)));
  return opened;
}

void Say(const Globals& globals, std::string_view line) {
  if (!globals.json) fmt::print("{}\n", line);
}

// Whether the newest snapshots of a sandbox have to stay, however old: all but those that were
// deleted here. One that is unknown may be another host's.
Result<std::set<std::string>> DeletedHere(const daemon::Config& config) {
  std::string path = config.state_dir + "/atoll.db";
  if (!std::filesystem::exists(path)) return std::set<std::string>();
  ASSIGN(auto database, db::Database::Open(path, db::Database::Mode::kReadOnly));
  return sandbox::Rows(*database).DeletedIds();
}

int64_t NowSeconds() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

Result<int> RepoInit(const Globals& globals) {
  ASSIGN(Opened opened, OpenStoreOnly(globals));
  repository::Options options = daemon::RepositoryOptions(opened.config.snapshots);
  ASSIGN(options.password, daemon::SnapshotPassword(opened.config.snapshots, true));
  TRY(repository::Repository::Init(*opened.store, options));
  Say(globals,
      fmt::format("a repository is in {}; its password in {}", opened.store->name(),
                  opened.config.snapshots.password.empty() ? opened.config.snapshots.password_file
                                                           : "the configuration"));
  Say(globals, "Keep the password: without it nothing can be restored.");
  return 0;
}

Result<int> RepoCheck(const Globals& globals, bool read_data) {
  ASSIGN(Opened opened, OpenRepository(globals));
  snapshot::CheckOptions options{.read_data = read_data};
  bool terminal = ::isatty(STDERR_FILENO) == 1;
  options.on_progress = [terminal](std::string_view phase, double done) {
    if (terminal) fmt::print(stderr, "\r\x1b[K{} {:.0f} %", phase, done * 100);
  };
  ASSIGN(snapshot::CheckResult result, snapshot::Check(*opened.repository, options));
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Field("snapshots", result.snapshots).Field("trees", result.trees);
    writer.Field("packs", result.packs).Field("blobs", result.blobs).Field("bytes", result.bytes);
    writer.Key("errors").BeginArray();
    for (const std::string& error : result.errors) writer.String(error);
    writer.EndArray().Key("hints").BeginArray();
    for (const std::string& hint : result.hints) writer.String(hint);
    writer.EndArray().EndObject();
    fmt::print("{}\n", writer.Take());
  } else {
    for (const std::string& hint : result.hints) fmt::print("hint: {}\n", hint);
    for (const std::string& error : result.errors) fmt::print("error: {}\n", error);
    fmt::print("{} snapshots, {} trees, {} blobs in {} packs: {}\n", result.snapshots, result.trees,
               result.blobs, result.packs,
               result.errors.empty() ? "no errors were found"
                                     : fmt::format("{} errors", result.errors.size()));
  }
  return result.errors.empty() ? 0 : 1;
}

Result<int> RepoPrune(const Globals& globals) {
  ASSIGN(Opened opened, OpenRepository(globals));
  TRY(opened.repository->Refresh());
  ASSIGN(std::set<std::string> deleted, DeletedHere(opened.config));
  auto needed = [&](std::string_view id) { return !deleted.contains(std::string(id)); };
  ASSIGN(uint64_t forgotten,
         snapshot::Forget(*opened.repository, opened.config.snapshots.retention.keep, NowSeconds(),
                          needed));
  ASSIGN(snapshot::PruneResult pruned, snapshot::Prune(*opened.repository, {.max_unused = 0}));
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Field("snapshotsRemoved", forgotten);
    writer.Field("packsRemoved", pruned.packs_removed);
    writer.Field("packsRepacked", pruned.packs_repacked);
    writer.Field("bytesFreed", pruned.bytes_freed).EndObject();
    fmt::print("{}\n", writer.Take());
  } else {
    fmt::print("{} snapshots have expired; {} packs removed, {} repacked, {} freed\n", forgotten,
               pruned.packs_removed, pruned.packs_repacked,
               HumanBytes(static_cast<double>(pruned.bytes_freed)));
  }
  return 0;
}

Result<int> RepoStats(const Globals& globals) {
  ASSIGN(Opened opened, OpenRepository(globals));
  TRY(opened.repository->Refresh());
  ASSIGN(snapshot::Stats stats, snapshot::CollectStats(*opened.repository));
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Field("snapshots", stats.snapshots).Field("sandboxes", stats.sandboxes);
    writer.Field("packs", stats.packs).Field("blobs", stats.blobs);
    writer.Field("storedBytes", stats.stored_bytes).Field("plainBytes", stats.plain_bytes);
    writer.Field("restoredBytes", stats.restored_bytes);
    writer.Field("indexFiles", stats.index_files).EndObject();
    fmt::print("{}\n", writer.Take());
    return 0;
  }
  auto human = [](uint64_t bytes) { return HumanBytes(static_cast<double>(bytes)); };
  fmt::print("snapshots  {} of {} sandboxes, {} when restored\n", stats.snapshots, stats.sandboxes,
             human(stats.restored_bytes));
  fmt::print("blobs      {}, {} before compression\n", stats.blobs, human(stats.plain_bytes));
  fmt::print("stored     {} in {} packs, {} index files\n", human(stats.stored_bytes), stats.packs,
             stats.index_files);
  return 0;
}

Result<int> RepoEnv(const Globals& globals) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  const daemon::SnapshotConfig& snapshots = config.snapshots;
  std::vector<std::pair<std::string, std::string>> variables = {
      {"RESTIC_REPOSITORY", snapshots.restic_repository()}};
  if (snapshots.password.empty()) {
    variables.emplace_back("RESTIC_PASSWORD_FILE", snapshots.password_file);
  } else {
    variables.emplace_back("RESTIC_PASSWORD", snapshots.password);
  }
  if (snapshots.remote) {
    // What restic does not take from the environment has to be said on its command line.
    if (snapshots.s3.style == blob::S3Options::Style::kVirtualHost) {
      fmt::print(stderr, "atoll: give restic the option -o s3.bucket-lookup=dns\n");
    }
    variables.emplace_back("AWS_ACCESS_KEY_ID", snapshots.s3.access_key);
    variables.emplace_back("AWS_SECRET_ACCESS_KEY", snapshots.s3.secret_key);
    if (!snapshots.s3.session_token.empty()) {
      variables.emplace_back("AWS_SESSION_TOKEN", snapshots.s3.session_token);
    }
    if (snapshots.s3.region != "auto") {
      variables.emplace_back("AWS_DEFAULT_REGION", snapshots.s3.region);
    }
    if (!snapshots.s3.ca_file.empty()) {
      variables.emplace_back("RESTIC_CACERT", snapshots.s3.ca_file);
    }
  }
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject();
    for (const auto& [name, value] : variables) writer.Field(name, value);
    writer.EndObject();
    fmt::print("{}\n", writer.Take());
    return 0;
  }
  for (const auto& [name, value] : variables)
    fmt::print("export {}={}\n", name, ShellQuoted(value));
  return 0;
}

Result<int> RepoKeys(const Globals& globals) {
  ASSIGN(Opened opened, OpenRepository(globals));
  ASSIGN(std::vector<blob::Entry> entries,
         opened.store->List({.prefix = repository::PrefixOf(repository::FileType::kKey)}));
  for (const blob::Entry& entry : entries) {
    ASSIGN(std::string text, opened.store->Get(entry.key, kMaxKeyFile));
    auto file = repository::KeyFile::FromJson(text);
    std::string id = entry.key.substr(entry.key.rfind('/') + 1);
    if (globals.json) {
      json::Writer writer;
      writer.BeginObject().Field("id", id).Field("created", file ? file->created : "");
      writer.Field("host", file ? file->hostname : "").EndObject();
      fmt::print("{}\n", writer.Take());
    } else if (file) {
      fmt::print("{}  {}  {}@{}\n", id.substr(0, 8), file->created, file->username, file->hostname);
    } else {
      fmt::print("{}  {}\n", id.substr(0, 8), file.error().message);
    }
  }
  return 0;
}

Result<int> RepoAddKey(const Globals& globals, const std::string& password_file) {
  ASSIGN(std::string text, sys::ReadFile(password_file, 4096));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  if (text.empty()) return Fail(Code::kInvalidArgument, password_file + " is empty");
  ASSIGN(Opened opened, OpenRepository(globals));
  auto key = repository::KeyFile::Make(opened.repository->key(), text);
  std::string encoded = key.ToJson();
  repository::Id id = repository::Hash(encoded);
  TRY(opened.store->Put(repository::KeyOf(repository::FileType::kKey, id), encoded));
  Say(globals, fmt::format("key {} opens the repository now", id.Short()));
  return 0;
}

Result<int> RepoRemoveKey(const Globals& globals, const std::string& prefix) {
  ASSIGN(Opened opened, OpenRepository(globals));
  ASSIGN(std::vector<blob::Entry> entries,
         opened.store->List({.prefix = repository::PrefixOf(repository::FileType::kKey)}));
  std::vector<std::string> found;
  for (const blob::Entry& entry : entries) {
    if (entry.key.substr(entry.key.rfind('/') + 1).starts_with(prefix)) found.push_back(entry.key);
  }
  if (found.size() != 1 || prefix.size() < 8) {
    return Fail(Code::kInvalidArgument,
                fmt::format("{} keys begin with \"{}\"; name one, by at least 8 digits",
                            found.size(), prefix));
  }
  ASSIGN(std::string text, opened.store->Get(found[0], kMaxKeyFile));
  ASSIGN(repository::KeyFile file, repository::KeyFile::FromJson(text));
  ASSIGN(std::string password, daemon::SnapshotPassword(opened.config.snapshots, false));
  if (file.Unlock(password)) {
    return Fail(Code::kFailedPrecondition,
                "this is the key that the configured password opens; configure another one first");
  }
  TRY(opened.store->Remove(found[0]));
  return 0;
}

}  // namespace atl::cli
