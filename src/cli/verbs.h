// SPDX-License-Identifier: Apache-2.0
// The verbs of the command line, a file each. A verb returns the process's exit code; an Error is
// printed once by main and becomes exit code 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/config.h"
#include "json/writer.h"

namespace atl::cli {

struct Globals {
  std::string config_file;
  std::string url;  // of a running daemon; empty: the one that the configuration describes
  bool json = false;
};

struct CreateArguments {
  std::string id;
  bool no_opencode = false;
  std::string image;
  std::string memory;
  std::optional<double> cpus;
  std::optional<uint64_t> pids;
  std::string disk;
  std::vector<std::string> env;  // KEY=value
};

struct ForkArguments {
  std::string id;
  std::string copy;  // the name of the new one; empty: derived
  std::optional<uint64_t> count;
  bool memory = false;
  bool no_opencode = false;
};

struct RunArguments {
  std::string id;
  std::vector<std::string> command;
  std::string cwd;
  std::vector<std::string> env;
  std::optional<uint64_t> timeout_ms;
};

struct ShellArguments {
  std::string id;
  std::vector<std::string> command;  // empty: a shell
  std::string session;               // the name of the terminal; empty: one of its own
  std::string shell;
  std::string cwd;
};

struct SnapshotArguments {
  std::string id;
  std::string dir = "/workspace";
  std::string name;
  std::optional<bool> freeze;
  std::string ttl;
  std::vector<std::string> tags;
  std::vector<std::string> exclude;
};

struct RestoreArguments {
  std::string id;
  std::string snapshot;
  std::string dir;
  std::string from;
  bool merge = false;
};

struct ListArguments {
  std::string sandbox;
  std::string dir;
  std::string name;
  std::string trigger;
  std::string tag;
};

struct ExposeArguments {
  std::string id;
  uint16_t port = 0;
  std::string name;
  std::string token;
  std::string ttl;
  bool is_signed = false;
};

struct BucketArguments {
  std::string id;
  std::string bucket;
  std::string path;
  std::string endpoint;
  std::string region;
  std::string prefix;
  std::string secret;  // the name of a section of the daemon's configuration
  bool is_read_only = false;
};

struct TopArguments {
  bool once = false;
  std::string sort = "cpu";
};

Result<int> Create(const Globals& globals, const CreateArguments& arguments);
Result<int> Fork(const Globals& globals, const ForkArguments& arguments);
// `all`: every sandbox there is; one that cannot be stopped does not keep the others.
Result<int> Stop(const Globals& globals, std::vector<std::string> ids, bool all, bool keep_memory);
// A progress bar on a terminal's stderr.
Result<int> Snapshot(const Globals& globals, const SnapshotArguments& arguments);
Result<int> Restore(const Globals& globals, const RestoreArguments& arguments);

Result<int> SnapshotsList(const Globals& globals, const ListArguments& arguments);
Result<int> SnapshotsShow(const Globals& globals, const std::string& id);
Result<int> SnapshotsDiff(const Globals& globals, const std::string& from, const std::string& to);
Result<int> SnapshotsTree(const Globals& globals, const std::string& id, const std::string& path);
// To stdout.
Result<int> SnapshotsCat(const Globals& globals, const std::string& id, const std::string& path);
// To a file, or to stdout ("-").
Result<int> SnapshotsArchive(const Globals& globals, const std::string& id, const std::string& file,
                             bool presign);
// Sends `patch` (JSON) to a snapshot.
Result<int> SnapshotsChange(const Globals& globals, const std::string& id,
                            const std::string& patch);
Result<int> SnapshotsRemove(const Globals& globals, const std::vector<std::string>& ids);

// These open the repository themselves, beside a daemon or without one.
Result<int> RepoInit(const Globals& globals);
Result<int> RepoCheck(const Globals& globals, bool read_data);
Result<int> RepoPrune(const Globals& globals);
Result<int> RepoStats(const Globals& globals);
Result<int> RepoEnv(const Globals& globals);
Result<int> RepoKeys(const Globals& globals);
Result<int> RepoAddKey(const Globals& globals, const std::string& password_file);
Result<int> RepoRemoveKey(const Globals& globals, const std::string& id);

Result<int> List(const Globals& globals);
// What listens inside a sandbox, and what of it has a preview URL.
Result<int> PortsList(const Globals& globals, const std::string& id);
// Prints the URL.
Result<int> Expose(const Globals& globals, const ExposeArguments& arguments);
Result<int> Unexpose(const Globals& globals, const std::string& id, uint16_t port);
// With the key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or one that the daemon has.
Result<int> BucketMount(const Globals& globals, const BucketArguments& arguments);
Result<int> BucketList(const Globals& globals, const std::string& id);
Result<int> BucketUnmount(const Globals& globals, const std::string& id, const std::string& path);
// `force`: also one that somebody uses.
Result<int> Sleep(const Globals& globals, const std::vector<std::string>& ids, bool force);
Result<int> Wake(const Globals& globals, const std::vector<std::string>& ids);
// What happened to a sandbox, also to one that is gone; `follow`: and what happens from now on.
Result<int> Events(const Globals& globals, const std::string& id, bool follow);
// Every second on a terminal, else once.
Result<int> Top(const Globals& globals, const TopArguments& arguments);
// The command's own exit code, and its output on stdout and stderr.
Result<int> Run(const Globals& globals, const RunArguments& arguments);
// A terminal inside, on the user's own; the exit code of what ran in it.
Result<int> Shell(const Globals& globals, const ShellArguments& arguments);
// Tools for a model on stdin and stdout; `sandbox`: of that one alone, empty: of all.
Result<int> Mcp(const Globals& globals, const std::string& sandbox);
Result<int> Remove(const Globals& globals, const std::vector<std::string>& ids);
// 1 when something that is required is missing.
Result<int> Doctor(const Globals& globals);
// 1 when anything belongs to nothing, and stays so. `fix`: removes it.
Result<int> Leaks(const Globals& globals, bool fix);
Result<int> ImageBuild(const Globals& globals, const std::string& name, std::string recipe,
                       bool replace);
Result<int> ImageList(const Globals& globals);
Result<int> ImageRemove(const Globals& globals, const std::string& name);
// Fetches OpenCode and makes the default image, what of it is not there yet.
// `criu`: that is built, too.
Result<int> Setup(const Globals& globals, bool criu);
Result<int> Version(const Globals& globals);
// Returns when the newer daemon is ready.
Result<int> Upgrade(const Globals& globals);

// Writes the member "env" of a request's body from KEY=value arguments; nothing when there are
// none.
Result<void> AppendEnv(json::Writer& body, const std::vector<std::string>& pairs);

// One argument is a shell command line; several are quoted into one.
std::string CommandLine(const std::vector<std::string>& arguments);

Result<daemon::Config> ConfigOf(const Globals& globals);

// An executable that belongs to Atoll: below the working directory, of the source tree that the
// program was built in, or of share/atoll beside it.
Result<std::string> FindShared(const std::string& relative);

}  // namespace atl::cli
