// SPDX-License-Identifier: Apache-2.0
// snapshot, restore, stop, and what can be done with snapshots.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "cli/api_client.h"
#include "cli/progress_bar.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

namespace bj = boost::json;

std::string TextOf(const bj::object& object, std::string_view name) {
  const bj::value* value = object.if_contains(name);
  if (value == nullptr) return {};
  return value->is_string() ? std::string(value->get_string()) : bj::serialize(*value);
}

double NumberOf(const bj::object& object, std::string_view name) {
  const bj::value* value = object.if_contains(name);
  return value != nullptr && value->is_number() ? value->to_number<double>() : 0;
}

Result<bj::object> ObjectOf(std::string_view text) {
  boost::system::error_code error;
  bj::value parsed = bj::parse(text, error);
  if (error || !parsed.is_object()) {
    return Fail(Code::kBadGateway, "the daemon's answer cannot be read");
  }
  return std::move(parsed.get_object());
}

// For query strings and paths.
std::string Escape(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '.' || c == '~' || c == '/';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += fmt::format("%{:02X}", c);
    }
  }
  return out;
}

// Follows the work to its end; the final event without its "type".
Result<bj::object> Follow(const Globals& globals, std::string path, std::string body) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ProgressBar bar;
  std::string last;
  TRY(client.Stream(std::move(path), std::move(body), [&](std::string_view event) {
    last = event;
    bar.Show(event);
    return true;
  }));
  bar.Clear();
  ASSIGN(bj::object object, ObjectOf(last));
  std::string type = TextOf(object, "type");
  if (type == "error") {
    return Fail(Code::kInternal, TextOf(object, "message"), TextOf(object, "code"));
  }
  if (type == "progress") return Fail(Code::kUnavailable, "the daemon has gone away");
  object.erase("type");
  return object;
}

void PrintLines(const bj::object& object, std::string_view list,
                const std::function<void(const bj::object&)>& print) {
  const bj::value* items = object.if_contains(list);
  if (items == nullptr || !items->is_array()) return;
  for (const bj::value& item : items->get_array()) {
    if (item.is_object()) print(item.get_object());
  }
}

}  // namespace

Result<int> Snapshot(const Globals& globals, const SnapshotArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  json::Writer writer;
  writer.BeginObject().Field("dir", arguments.dir);
  if (!arguments.name.empty()) writer.Field("name", arguments.name);
  if (arguments.freeze) writer.Field("freeze", *arguments.freeze);
  if (!arguments.ttl.empty()) writer.Field("ttl", arguments.ttl);
  for (auto [name, list] :
       {std::pair("tags", &arguments.tags), std::pair("exclude", &arguments.exclude)}) {
    if (list->empty()) continue;
    writer.Key(name).BeginArray();
    for (const std::string& item : *list) writer.String(item);
    writer.EndArray();
  }
  writer.EndObject();
  ASSIGN(bj::object answer,
         Follow(globals, fmt::format("/v1/sandboxes/{}/snapshot", arguments.id), writer.Take()));
  if (globals.json) {
    fmt::print("{}\n", bj::serialize(answer));
    return 0;
  }
  fmt::print("{}  {} files, {}, {} added, {:.0f} ms\n", TextOf(answer, "snapshotId"),
             NumberOf(answer, "files"), HumanBytes(NumberOf(answer, "bytesTotal")),
             HumanBytes(NumberOf(answer, "bytesAdded")), NumberOf(answer, "durationMs"));
  double mixed = NumberOf(answer, "changedWhileRead");
  if (mixed > 0) {
    fmt::print(stderr, "atoll: {} files changed while they were read; use --freeze\n", mixed);
  }
  return 0;
}

Result<int> Restore(const Globals& globals, const RestoreArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  json::Writer writer;
  writer.BeginObject().Field("mode", arguments.merge ? "merge" : "replace");
  if (!arguments.dir.empty()) writer.Field("dir", arguments.dir);
  if (!arguments.from.empty()) writer.Field("from", arguments.from);
  writer.EndObject();
  ASSIGN(bj::object answer, Follow(globals,
                                   fmt::format("/v1/sandboxes/{}/restore/{}", arguments.id,
                                               Escape(arguments.snapshot)),
                                   writer.Take()));
  if (globals.json) {
    fmt::print("{}\n", bj::serialize(answer));
    return 0;
  }
  fmt::print("{}  {} files written, {} kept, {} removed, {:.0f} ms\n", TextOf(answer, "dir"),
             NumberOf(answer, "filesWritten"), NumberOf(answer, "filesKept"),
             NumberOf(answer, "removed"), NumberOf(answer, "durationMs"));
  return 0;
}

namespace {

Result<std::vector<std::string>> AllIds(const ApiClient& client) {
  ASSIGN(std::string answer, client.Call("GET", "/v1/sandboxes"));
  ASSIGN(bj::object object, ObjectOf(answer));
  std::vector<std::string> ids;
  const bj::value* list = object.if_contains("sandboxes");
  if (list == nullptr || !list->is_array()) return ids;
  for (const bj::value& item : list->get_array()) {
    if (item.is_object()) ids.push_back(TextOf(item.get_object(), "id"));
  }
  return ids;
}

// 1 when it could not be saved.
Result<int> StopOne(const Globals& globals, const ApiClient& client, const std::string& id,
                    bool keep_memory) {
  ASSIGN(std::string answer, client.Call("POST", fmt::format("/v1/sandboxes/{}/stop", id),
                                         keep_memory ? R"({"keepMemory":true})" : "{}"));
  if (globals.json) fmt::print("{}\n", answer);
  ASSIGN(bj::object object, ObjectOf(answer));
  std::string forgotten = TextOf(object, "memoryFailure");
  if (!forgotten.empty()) {
    fmt::print(stderr, "atoll: {} is stopped, but what ran in it has ended: {}\n", id, forgotten);
  }
  std::string failure = TextOf(object, "saveFailure");
  if (failure.empty() && forgotten.empty() && !globals.json) {
    const bj::value* kept = object.if_contains("memoryKept");
    bool goes_on = kept != nullptr && kept->is_bool() && kept->get_bool();
    fmt::print("{} is stopped{}\n", id,
               goes_on ? "; its memory is kept, and what ran goes on when it is started" : "");
  }
  if (failure.empty()) return forgotten.empty() ? 0 : 1;
  fmt::print(stderr, "atoll: {} is stopped but not saved, its files stay here: {}\n", id, failure);
  return 1;
}

}  // namespace

Result<int> Stop(const Globals& globals, std::vector<std::string> ids, bool all, bool keep_memory) {
  for (const std::string& id : ids) TRY(sandbox::ValidateId(id));
  if (ids.empty() != all) {
    return Fail(Code::kInvalidArgument, "name the sandboxes to stop, or --all");
  }
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  if (all) {
    ASSIGN(ids, AllIds(client));
  }
  int code = 0;
  for (const std::string& id : ids) {
    Result<int> stopped = StopOne(globals, client, id, keep_memory);
    if (!stopped && !all) return std::unexpected(std::move(stopped).error().Wrap(id));
    if (!stopped) fmt::print(stderr, "atoll: {}: {}\n", id, stopped.error().message);
    code = std::max(code, stopped.value_or(1));
  }
  return code;
}

Result<int> SnapshotsList(const Globals& globals, const ListArguments& arguments) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  std::string query;
  for (const auto& [name, value] :
       {std::pair("sandbox", arguments.sandbox), std::pair("dir", arguments.dir),
        std::pair("name", arguments.name), std::pair("trigger", arguments.trigger),
        std::pair("tag", arguments.tag)}) {
    if (!value.empty()) query += fmt::format("&{}={}", name, Escape(value));
  }
  std::string cursor;
  bool first = true;
  do {
    std::string path = fmt::format("/v1/snapshots?limit=500{}", query);
    if (!cursor.empty()) path += "&cursor=" + cursor;
    ASSIGN(std::string answer, client.Call("GET", path));
    ASSIGN(bj::object object, ObjectOf(answer));
    cursor = TextOf(object, "cursor");
    if (globals.json) {
      PrintLines(object, "snapshots",
                 [](const bj::object& item) { fmt::print("{}\n", bj::serialize(item)); });
      continue;
    }
    if (first) {
      fmt::print("{:<10} {:<20} {:<24} {:<20} {:<9} {:>10} {:>10}  {}\n", "ID", "TIME", "SANDBOX",
                 "DIR", "TRIGGER", "SIZE", "ADDED", "NAME");
    }
    first = false;
    PrintLines(object, "snapshots", [](const bj::object& item) {
      fmt::print("{:<10} {:<20} {:<24} {:<20} {:<9} {:>10} {:>10}  {}{}\n",
                 TextOf(item, "snapshotId").substr(0, 8), TextOf(item, "createdAt").substr(0, 19),
                 TextOf(item, "sandbox"), TextOf(item, "dir"), TextOf(item, "trigger"),
                 HumanBytes(NumberOf(item, "bytes")), HumanBytes(NumberOf(item, "bytesAdded")),
                 TextOf(item, "name"), TextOf(item, "pinned") == "true" ? " (pinned)" : "");
    });
  } while (!cursor.empty());
  return 0;
}

Result<int> SnapshotsShow(const Globals& globals, const std::string& id) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer, client.Call("GET", "/v1/snapshots/" + Escape(id)));
  if (globals.json) {
    fmt::print("{}\n", answer);
    return 0;
  }
  ASSIGN(bj::object object, ObjectOf(answer));
  for (const auto& field : object) {
    fmt::print("{:<14} {}\n", std::string_view(field.key()),
               TextOf(object, std::string_view(field.key())));
  }
  return 0;
}

Result<int> SnapshotsDiff(const Globals& globals, const std::string& from, const std::string& to) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer,
         client.Call("GET", fmt::format("/v1/snapshots/{}/diff?to={}&limit=100000", Escape(from),
                                        Escape(to))));
  if (globals.json) {
    fmt::print("{}\n", answer);
    return 0;
  }
  ASSIGN(bj::object object, ObjectOf(answer));
  PrintLines(object, "entries", [](const bj::object& item) {
    std::string change = TextOf(item, "change");
    char mark = 'U';
    if (change == "added") mark = '+';
    if (change == "removed") mark = '-';
    if (change == "changed") mark = 'M';
    fmt::print("{}  {}\n", mark, TextOf(item, "path"));
  });
  fmt::print("{} added, {} changed, {} removed; {} new, {} gone\n", NumberOf(object, "added"),
             NumberOf(object, "changed"), NumberOf(object, "removed"),
             HumanBytes(NumberOf(object, "bytesAdded")),
             HumanBytes(NumberOf(object, "bytesRemoved")));
  return 0;
}

Result<int> SnapshotsTree(const Globals& globals, const std::string& id, const std::string& path) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  std::string cursor;
  do {
    ASSIGN(std::string answer,
           client.Call("GET", fmt::format("/v1/snapshots/{}/tree?path={}&cursor={}", Escape(id),
                                          Escape(path), Escape(cursor))));
    ASSIGN(bj::object object, ObjectOf(answer));
    cursor = TextOf(object, "cursor");
    if (globals.json) {
      fmt::print("{}\n", answer);
      continue;
    }
    PrintLines(object, "entries", [](const bj::object& item) {
      std::string type = TextOf(item, "type");
      fmt::print("{:<8} {} {:>5} {:>5} {:>12} {} {}{}\n", type, TextOf(item, "mode"),
                 TextOf(item, "uid"), TextOf(item, "gid"), TextOf(item, "size"),
                 TextOf(item, "mtime").substr(0, 19), TextOf(item, "name"),
                 type == "symlink" ? " -> " + TextOf(item, "target") : "");
    });
  } while (!cursor.empty());
  return 0;
}

Result<int> SnapshotsCat(const Globals& globals, const std::string& id, const std::string& path) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  TRY(client.Download(fmt::format("/v1/snapshots/{}/file?path={}", Escape(id), Escape(path)),
                      [](std::string_view piece) { return sys::WriteAll(STDOUT_FILENO, piece); }));
  return 0;
}

Result<int> SnapshotsArchive(const Globals& globals, const std::string& id, const std::string& file,
                             bool presign) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  std::string path = fmt::format("/v1/snapshots/{}/archive", Escape(id));
  if (presign) {
    ASSIGN(std::string answer, client.Call("GET", path + "?presign=1"));
    fmt::print("{}\n", globals.json ? answer : StringField(answer, "url"));
    return 0;
  }
  if (file == "-") {
    TRY(client.Download(
        path, [](std::string_view piece) { return sys::WriteAll(STDOUT_FILENO, piece); }));
    return 0;
  }
  // What is cut off does not look like the whole.
  std::string temporary = file + ".part";
  ASSIGN(sys::Fd out, sys::Open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  TRY(client.Download(path,
                      [&out](std::string_view piece) { return sys::WriteAll(out.get(), piece); }));
  if (::rename(temporary.c_str(), file.c_str()) != 0) return FailErrno(errno, "write " + file);
  return 0;
}

Result<int> SnapshotsChange(const Globals& globals, const std::string& id,
                            const std::string& patch) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer, client.Call("PATCH", "/v1/snapshots/" + Escape(id), patch));
  if (globals.json) fmt::print("{}\n", answer);
  return 0;
}

Result<int> SnapshotsRemove(const Globals& globals, const std::vector<std::string>& ids) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  for (const std::string& id : ids) {
    Result<std::string> answer = client.Call("DELETE", "/v1/snapshots/" + Escape(id));
    if (!answer) return std::unexpected(std::move(answer).error().Wrap(id));
  }
  return 0;
}

}  // namespace atl::cli
