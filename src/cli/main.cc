// SPDX-License-Identifier: Apache-2.0
// The program `atoll`: parses the command line and calls the verb.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <functional>
#include <set>
#include <string_view>

#include "cli/snapshot_commands.h"
#include "cli/verbs.h"
#include "daemon/serve.h"

namespace atl::cli {
namespace {

void AddCreate(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* command = app.add_subcommand("create", "Create a sandbox, or start one that exists");
  auto arguments = std::make_shared<CreateArguments>();
  command->add_option("id", arguments->id, "Its name")->required();
  command->add_flag("--no-opencode", arguments->no_opencode, "Start OpenCode on first use only");
  command->add_option("--image", arguments->image, "The image it is made of");
  command->add_option("--memory", arguments->memory, "Memory limit, such as 2G");
  command->add_option("--cpus", arguments->cpus, "CPU limit, such as 1.5");
  command->add_option("--pids", arguments->pids, "Limit of processes and threads");
  command->add_option("--disk", arguments->disk, "Limit of what it may store, such as 10G");
  command->add_option("--env,-e", arguments->env, "KEY=value for every program inside");
  command->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Create(globals, *arguments); };
  });
}

void AddFork(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* command = app.add_subcommand("fork", "Copy a sandbox, its files and conversations");
  auto arguments = std::make_shared<ForkArguments>();
  command->add_option("id", arguments->id, "The sandbox that is copied")->required();
  command->add_option("new", arguments->copy, "The name of the copy (default: ID-2 and so on)");
  command->add_option("--count", arguments->count, "How many copies");
  command->add_flag("--memory", arguments->memory, "What runs goes on in the copies, too");
  command->add_flag("--no-opencode", arguments->no_opencode, "Start OpenCode on first use only");
  command->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Fork(globals, *arguments); };
  });
}

void AddRun(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* command = app.add_subcommand("run", "Run a command; its exit code is atoll's");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("id", arguments->id, "The sandbox")->required();
  command->add_option("command", arguments->command, "One shell command line, or its arguments")
      ->required();
  command->add_option("--cwd", arguments->cwd, "Where to run it (default /workspace)");
  command->add_option("--env,-e", arguments->env, "KEY=value");
  command->add_option("--timeout", arguments->timeout_ms, "Milliseconds until it is ended");
  command->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Run(globals, *arguments); };
  });
}

void AddShell(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* command = app.add_subcommand("shell", "A terminal in a sandbox, with a shell or a command");
  auto arguments = std::make_shared<ShellArguments>();
  command->add_option("id", arguments->id, "The sandbox")->required();
  command->add_option("command", arguments->command, "One shell command line, or its arguments");
  command->add_option(
      "--session", arguments->session,
      "A terminal that is joined by its name; Ctrl-] twice leaves it, and it goes on");
  command->add_option("--shell", arguments->shell, "The shell (default bash)");
  command->add_option("--cwd", arguments->cwd, "Where to begin (default /workspace)");
  command->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Shell(globals, *arguments); };
  });
}

void AddImage(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* image = app.add_subcommand("image", "Images that sandboxes are made of");
  image->require_subcommand(1);
  struct Arguments {
    std::string name = "default";
    std::string recipe;
    bool replace = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* build = image->add_subcommand("build", "Make an image by its recipe");
  build->add_option("name", arguments->name, "Its name (default: default)");
  build->add_option("--recipe", arguments->recipe, "A directory with a build.sh");
  build->add_flag("--replace", arguments->replace, "Replace an image of this name");
  build->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] {
      return ImageBuild(globals, arguments->name, arguments->recipe, arguments->replace);
    };
  });
  image->add_subcommand("ls", "List images")->callback([&verb, &globals] {
    verb = [&globals] { return ImageList(globals); };
  });
  auto* remove = image->add_subcommand("rm", "Remove an image that no sandbox uses");
  auto name = std::make_shared<std::string>();
  remove->add_option("name", *name, "Its name")->required();
  remove->callback(
      [&verb, &globals, name] { verb = [&globals, name] { return ImageRemove(globals, *name); }; });
}

void AddLifecycle(CLI::App& app, const Globals& globals, Verb& verb) {
  struct Arguments {
    std::vector<std::string> ids;
    std::string id;
    bool flag = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* sleep = app.add_subcommand("sleep", "Let sandboxes stand still until they are used");
  sleep->add_option("id", arguments->ids, "Their names")->required();
  sleep->add_flag("--force", arguments->flag, "Also those that somebody uses");
  sleep->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Sleep(globals, arguments->ids, arguments->flag); };
  });
  auto* wake = app.add_subcommand("wake", "Wake or start sandboxes");
  wake->add_option("id", arguments->ids, "Their names")->required();
  wake->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Wake(globals, arguments->ids); };
  });
  auto* events = app.add_subcommand("events", "What happened to a sandbox, and why");
  events->add_option("id", arguments->id, "Its name")->required();
  events->add_flag("--follow,-f", arguments->flag, "Go on with what happens");
  events->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Events(globals, arguments->id, arguments->flag); };
  });
}

void AddMcp(CLI::App& app, const Globals& globals, Verb& verb) {
  auto sandbox = std::make_shared<std::string>();
  auto* mcp = app.add_subcommand("mcp", "Be an MCP server on stdin and stdout");
  mcp->add_option("--sandbox", *sandbox, "Offer this one alone");
  mcp->callback([&verb, &globals, sandbox] {
    verb = [&globals, sandbox] { return Mcp(globals, *sandbox); };
  });
}

void AddPorts(CLI::App& app, const Globals& globals, Verb& verb) {
  auto arguments = std::make_shared<ExposeArguments>();
  auto* ports = app.add_subcommand("ports", "What listens inside a sandbox, with its URLs");
  ports->add_option("id", arguments->id, "Its name")->required();
  ports->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return PortsList(globals, arguments->id); };
  });
  auto* expose = app.add_subcommand("expose", "Give a port of a sandbox a preview URL");
  expose->add_option("id", arguments->id, "Its name")->required();
  expose->add_option("port", arguments->port, "The port inside")->required();
  expose->add_option("--name", arguments->name, "For people");
  expose->add_option("--token", arguments->token, "What the URL holds (default: a random one)");
  expose->add_option("--ttl", arguments->ttl, "How long, such as 3d (default: for good)");
  expose->add_flag("--signed", arguments->is_signed, "The token alone is not enough");
  expose->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Expose(globals, *arguments); };
  });
  auto* unexpose = app.add_subcommand("unexpose", "Take a preview URL back");
  unexpose->add_option("id", arguments->id, "Its name")->required();
  unexpose->add_option("port", arguments->port, "The port inside")->required();
  unexpose->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return Unexpose(globals, arguments->id, arguments->port); };
  });
}

void AddBuckets(CLI::App& app, const Globals& globals, Verb& verb) {
  auto arguments = std::make_shared<BucketArguments>();
  auto* bucket = app.add_subcommand("bucket", "Buckets of S3 stores as directories of a sandbox");
  bucket->require_subcommand(1);
  auto* mount = bucket->add_subcommand(
      "mount", "Mount one, with the key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  mount->add_option("id", arguments->id, "The sandbox's name")->required();
  mount->add_option("bucket", arguments->bucket, "The bucket's name")->required();
  mount->add_option("path", arguments->path, "Where it appears")->required();
  mount->add_option("--endpoint", arguments->endpoint, "The store: https://host:port");
  mount->add_option("--region", arguments->region, "Its region");
  mount->add_option("--prefix", arguments->prefix, "What is below this alone");
  mount->add_option("--secret", arguments->secret, "A key that the daemon's configuration has");
  mount->add_flag("--read-only", arguments->is_read_only, "Nobody inside changes it");
  mount->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return BucketMount(globals, *arguments); };
  });
  auto* list = bucket->add_subcommand("ls", "What is mounted, and whether it is served");
  list->add_option("id", arguments->id, "The sandbox's name")->required();
  list->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return BucketList(globals, arguments->id); };
  });
  auto* unmount = bucket->add_subcommand("unmount", "Take one out of a sandbox");
  unmount->add_option("id", arguments->id, "The sandbox's name")->required();
  unmount->add_option("path", arguments->path, "Where it is")->required();
  unmount->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] { return BucketUnmount(globals, arguments->id, arguments->path); };
  });
}

void AddRest(CLI::App& app, const Globals& globals, Verb& verb) {
  app.add_subcommand("serve", "Run the daemon")->callback([&verb, &globals] {
    verb = [&globals]() -> Result<int> {
      ASSIGN(daemon::Config config, ConfigOf(globals));
      TRY(daemon::Serve(std::move(config)));
      return 0;
    };
  });
  app.add_subcommand("ls", "List sandboxes")->callback([&verb, &globals] {
    verb = [&globals] { return List(globals); };
  });
  auto top_arguments = std::make_shared<TopArguments>();
  auto* top = app.add_subcommand("top", "Show what sandboxes use, each second");
  top->add_flag("--once", top_arguments->once, "Print it once");
  top->add_option("--sort", top_arguments->sort, "cpu, memory, disk, processes, age, id or state");
  top->callback([&verb, &globals, top_arguments] {
    verb = [&globals, top_arguments] { return Top(globals, *top_arguments); };
  });
  auto* setup = app.add_subcommand("setup", "Fetch OpenCode and make the default image");
  auto criu = std::make_shared<bool>(false);
  setup->add_flag("--criu", *criu,
                  "Build CRIU, too, with the compiler that it needs: OpenCode goes on from a "
                  "template instead of booting, and memory can be kept and forked");
  setup->callback(
      [&verb, &globals, criu] { verb = [&globals, criu] { return Setup(globals, *criu); }; });
  auto ids = std::make_shared<std::vector<std::string>>();
  auto* remove = app.add_subcommand("rm", "Delete sandboxes and their files");
  remove->add_option("id", *ids, "Their names")->required();
  remove->callback(
      [&verb, &globals, ids] { verb = [&globals, ids] { return Remove(globals, *ids); }; });
  auto leaks = std::make_shared<bool>(false);
  auto* doctor = app.add_subcommand("doctor", "Say what this host offers");
  doctor->add_flag("--leaks", *leaks, "Find what belongs to no sandbox; exit 1 if there is any");
  auto fix = std::make_shared<bool>(false);
  doctor->add_flag("--fix", *fix, "Remove it; files that no sandbox is known to have, too")
      ->needs("--leaks");
  doctor->callback([&verb, &globals, leaks, fix] {
    verb = [&globals, leaks, fix] { return *leaks ? Leaks(globals, *fix) : Doctor(globals); };
  });
  app.add_subcommand("upgrade", "Let the installed daemon take the running one's place")
      ->callback([&verb, &globals] { verb = [&globals] { return Upgrade(globals); }; });
  app.add_subcommand("version", "Print the version")->callback([&verb, &globals] {
    verb = [&globals] { return Version(globals); };
  });
}

// Options behind the sandbox's name belong to the command that is run: `atoll run demo ls -la`.
// Marks its beginning with `--`, as the parser wants it.
std::vector<std::string> MarkCommand(int argc, char** argv) {
  const std::set<std::string_view> with_value = {"--config", "--url",     "--cwd",     "--env",
                                                 "-e",       "--timeout", "--session", "--shell"};
  std::vector<std::string> arguments(argv + 1, argv + argc);
  bool run = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") break;
    if (arguments[i].starts_with('-')) {
      if (with_value.contains(arguments[i])) ++i;
    } else if (!run) {
      if (arguments[i] != "run" && arguments[i] != "shell") break;
      run = true;
    } else {
      if (i + 1 < arguments.size() && arguments[i + 1] != "--") {
        arguments.insert(arguments.begin() + static_cast<long>(i) + 1, "--");
      }
      break;
    }
  }
  return arguments;
}

int Main(int argc, char** argv) {
  CLI::App app("Atoll: a Linux sandbox on its own subdomain for every coding agent", "atoll");
  app.set_version_flag("--version", std::string(ATOLL_VERSION));
  app.require_subcommand(1);
  app.fallthrough();
  Globals globals;
  app.add_option("--config", globals.config_file, "Configuration file")->check(CLI::ExistingFile);
  app.add_option("--url", globals.url, "The daemon's address, such as http://127.0.0.1:8787")
      ->envname("ATOLL_URL");
  app.add_flag("--json", globals.json, "Print JSON");
  Verb verb;
  AddCreate(app, globals, verb);
  AddFork(app, globals, verb);
  AddRun(app, globals, verb);
  AddShell(app, globals, verb);
  AddImage(app, globals, verb);
  AddSnapshotCommands(app, globals, verb);
  AddLifecycle(app, globals, verb);
  AddPorts(app, globals, verb);
  AddBuckets(app, globals, verb);
  AddMcp(app, globals, verb);
  AddRest(app, globals, verb);
  try {
    std::vector<std::string> arguments = MarkCommand(argc, argv);
    std::ranges::reverse(arguments);  // the parser takes them from the back
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  Result<int> code = verb();
  if (code) return *code;
  fmt::print(stderr, "atoll: {}\n", code.error().message);
  return 1;
}

}  // namespace

}  // namespace atl::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return atl::cli::Main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "atoll: {}\n", error.what());
    return 1;
  }
}
