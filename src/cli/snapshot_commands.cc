// SPDX-License-Identifier: Apache-2.0
#include "cli/snapshot_commands.h"

#include <memory>
#include <string>
#include <vector>

#include "json/writer.h"

namespace atl::cli {
namespace {

// A verb that takes what the options were parsed into.
template <class Arguments, class Function>
auto Calling(Verb& verb, const Globals& globals, std::shared_ptr<Arguments> arguments,
             Function function) {
  return [&verb, &globals, arguments, function] {
    verb = [&globals, arguments, function] { return function(globals, *arguments); };
  };
}

void AddSnapshot(CLI::App& app, const Globals& globals, Verb& verb) {
  auto arguments = std::make_shared<SnapshotArguments>();
  auto* command = app.add_subcommand("snapshot", "Take a snapshot of a sandbox's directory");
  command->add_option("id", arguments->id, "The sandbox")->required();
  command->add_option("--dir", arguments->dir, "The directory (default: /workspace)");
  command->add_option("--name", arguments->name, "A name for it");
  command->add_flag_callback(
      "--freeze", [arguments] { arguments->freeze = true; },
      "Let the sandbox's programs stand still meanwhile");
  command->add_option("--ttl", arguments->ttl, "How long it is kept: 3d, 12h, never");
  command->add_option("--tag", arguments->tags, "A tag; may be repeated");
  command->add_option("--exclude", arguments->exclude, "A path to leave out; may be repeated");
  command->callback(Calling(verb, globals, arguments, Snapshot));
}

void AddRestore(CLI::App& app, const Globals& globals, Verb& verb) {
  auto arguments = std::make_shared<RestoreArguments>();
  auto* command = app.add_subcommand("restore", "Make a sandbox's directory what a snapshot says");
  command->add_option("id", arguments->id, "The sandbox")->required();
  command->add_option("snapshot", arguments->snapshot, "The snapshot's id, or its beginning")
      ->required();
  command->add_option("--dir", arguments->dir, "Where to (default: where it was taken)");
  command->add_option("--from", arguments->from, "A directory inside the snapshot");
  command->add_flag("--merge", arguments->merge, "Keep files that the snapshot does not have");
  command->callback(Calling(verb, globals, arguments, Restore));
}

void AddStop(CLI::App& app, const Globals& globals, Verb& verb) {
  struct Arguments {
    std::vector<std::string> ids;
    bool all = false;
    bool keep_memory = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("stop", "Save sandboxes and stop them; their files stay");
  command->add_option("id", arguments->ids, "Their names");
  command->add_flag("--all", arguments->all, "All that there are");
  command->add_flag("--keep-memory", arguments->keep_memory,
                    "What runs goes on at the next start, where it was");
  command->callback([&verb, &globals, arguments] {
    verb = [&globals, arguments] {
      return Stop(globals, arguments->ids, arguments->all, arguments->keep_memory);
    };
  });
}

// A snapshot's id and up to one more word.
struct Named {
  std::string id;
  std::string other;
  bool flag = false;
};

void AddReading(CLI::App& group, const Globals& globals, Verb& verb) {
  auto shown = std::make_shared<Named>();
  auto* show = group.add_subcommand("show", "Everything about a snapshot");
  show->add_option("snapshot", shown->id, "Its id")->required();
  show->callback(Calling(verb, globals, shown,
                         [](const Globals& g, const Named& n) { return SnapshotsShow(g, n.id); }));

  auto compared = std::make_shared<Named>();
  auto* diff = group.add_subcommand("diff", "What differs between two snapshots");
  diff->add_option("from", compared->id, "The older one")->required();
  diff->add_option("to", compared->other, "The newer one")->required();
  diff->callback(Calling(verb, globals, compared, [](const Globals& g, const Named& n) {
    return SnapshotsDiff(g, n.id, n.other);
  }));

  auto listed = std::make_shared<Named>();
  auto* tree = group.add_subcommand("tree", "The files of a directory in a snapshot");
  tree->add_option("snapshot", listed->id, "Its id")->required();
  tree->add_option("path", listed->other, "Relative to the snapshot's directory");
  tree->callback(Calling(verb, globals, listed, [](const Globals& g, const Named& n) {
    return SnapshotsTree(g, n.id, n.other);
  }));

  auto read = std::make_shared<Named>();
  auto* cat = group.add_subcommand("cat", "Print a file of a snapshot");
  cat->add_option("snapshot", read->id, "Its id")->required();
  cat->add_option("path", read->other, "Relative to the snapshot's directory")->required();
  cat->callback(Calling(verb, globals, read, [](const Globals& g, const Named& n) {
    return SnapshotsCat(g, n.id, n.other);
  }));

  auto packed = std::make_shared<Named>();
  auto* archive = group.add_subcommand("archive", "Write a snapshot as .tar.zst");
  archive->add_option("snapshot", packed->id, "Its id")->required();
  archive->add_option("file", packed->other, "Where to; - is stdout");
  archive->add_flag("--presign", packed->flag, "Put it into the store and print an URL to it");
  archive->callback(Calling(verb, globals, packed, [](const Globals& g, const Named& n) {
    return SnapshotsArchive(g, n.id, n.other.empty() ? "-" : n.other, n.flag);
  }));
}

void AddChanging(CLI::App& group, const Globals& globals, Verb& verb) {
  for (bool pin : {true, false}) {
    auto named = std::make_shared<Named>();
    auto* command = group.add_subcommand(
        pin ? "pin" : "unpin", pin ? "Keep a snapshot for ever" : "Let a snapshot expire again");
    command->add_option("snapshot", named->id, "Its id")->required();
    command->callback(Calling(verb, globals, named, [pin](const Globals& g, const Named& n) {
      return SnapshotsChange(g, n.id, pin ? R"({"pinned":true})" : R"({"pinned":false})");
    }));
  }

  struct Tagged {
    std::string id;
    std::vector<std::string> tags;
  };
  auto tagged = std::make_shared<Tagged>();
  auto* tag = group.add_subcommand("tag", "Set the tags of a snapshot");
  tag->add_option("snapshot", tagged->id, "Its id")->required();
  tag->add_option("tags", tagged->tags, "All of them; none removes them");
  tag->callback(Calling(verb, globals, tagged, [](const Globals& g, const Tagged& t) {
    json::Writer writer;
    writer.BeginObject().Key("tags").BeginArray();
    for (const std::string& one : t.tags) writer.String(one);
    writer.EndArray().EndObject();
    return SnapshotsChange(g, t.id, writer.Take());
  }));

  auto ids = std::make_shared<std::vector<std::string>>();
  auto* remove = group.add_subcommand("rm", "Delete snapshots");
  remove->add_option("snapshot", *ids, "Their ids")->required();
  remove->callback(Calling(verb, globals, ids, SnapshotsRemove));
}

void AddSnapshots(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* group = app.add_subcommand("snapshots", "List snapshots, look into them, change them");
  group->require_subcommand(0, 1);
  auto filter = std::make_shared<ListArguments>();
  group->add_option("--sandbox", filter->sandbox, "Only of this sandbox");
  group->add_option("--dir", filter->dir, "Only of this directory");
  group->add_option("--name", filter->name, "Only of this name");
  group->add_option("--trigger", filter->trigger, "Only: manual, stop, interval");
  group->add_option("--tag", filter->tag, "Only with this tag");
  // Runs before that of a subcommand, which then takes its place.
  group->preparse_callback([&verb, &globals, filter](size_t) {
    verb = [&globals, filter] { return SnapshotsList(globals, *filter); };
  });
  AddReading(*group, globals, verb);
  AddChanging(*group, globals, verb);
}

void AddRepo(CLI::App& app, const Globals& globals, Verb& verb) {
  auto* group = app.add_subcommand("repo", "The restic repository that snapshots are kept in");
  group->require_subcommand(1);
  auto plain = [&](const char* name, const char* text, Result<int> (*function)(const Globals&)) {
    group->add_subcommand(name, text)->callback([&verb, &globals, function] {
      verb = [&globals, function] { return function(globals); };
    });
  };
  plain("init", "Make it", RepoInit);
  plain("prune", "Remove what has expired and what nothing needs", RepoPrune);
  plain("stats", "What it holds", RepoStats);
  plain("env", "The environment in which restic opens it", RepoEnv);

  auto read_data = std::make_shared<bool>(false);
  auto* check = group->add_subcommand("check", "Whether everything is sound; exit 1 if not");
  check->add_flag("--read-data", *read_data, "Read every byte");
  check->callback(Calling(verb, globals, read_data,
                          [](const Globals& g, bool all) { return RepoCheck(g, all); }));

  auto* key = group->add_subcommand("key", "List the keys that open it");
  key->require_subcommand(0, 1);
  key->preparse_callback(
      [&verb, &globals](size_t) { verb = [&globals] { return RepoKeys(globals); }; });
  auto file = std::make_shared<std::string>();
  auto* add = key->add_subcommand("add", "Let one more password open it");
  add->add_option("file", *file, "A file that holds the password")->required();
  add->callback(Calling(verb, globals, file, RepoAddKey));
  auto id = std::make_shared<std::string>();
  auto* remove = key->add_subcommand("rm", "Let a password no longer open it");
  remove->add_option("key", *id, "The key's id")->required();
  remove->callback(Calling(verb, globals, id, RepoRemoveKey));
}

}  // namespace

void AddSnapshotCommands(CLI::App& app, const Globals& globals, Verb& verb) {
  AddSnapshot(app, globals, verb);
  AddRestore(app, globals, verb);
  AddStop(app, globals, verb);
  AddSnapshots(app, globals, verb);
  AddRepo(app, globals, verb);
}

}  // namespace atl::cli
