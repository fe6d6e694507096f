// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/seed/output_events.h"
#include "sandbox/files.h"

namespace atl::api::sdk {
namespace {

constexpr size_t kMostEntries = 200'000;

std::string_view TypeName(sandbox::FileKind kind) {
  switch (kind) {
    case sandbox::FileKind::kFile:
      return "file";
    case sandbox::FileKind::kDirectory:
      return "directory";
    case sandbox::FileKind::kSymlink:
      return "symlink";
    default:
      return "other";
  }
}

// "rwxr-xr-x"
std::string ModeText(uint32_t mode) {
  constexpr std::array<char, 3> kLetters = {'r', 'w', 'x'};
  std::string text;
  for (size_t i = 0; i < 9; ++i) {
    bool set = (mode >> (8 - i) & 1U) != 0;
    text += set ? kLetters.at(i % 3) : '-';
  }
  return text;
}

void WriteEntry(json::Writer& writer, const std::string& dir, const sandbox::FileEntry& entry) {
  std::string_view name = entry.path;
  name.remove_prefix(name.rfind('/') + 1);
  const sandbox::FileInfo& info = entry.info;
  writer.BeginObject().Field("name", name);
  writer.Field("absolutePath", Joined(dir, entry.path)).Field("relativePath", entry.path);
  writer.Field("type", TypeName(info.kind)).Field("size", info.size);
  writer.Field("modifiedAt", IsoTime(sandbox::ModifiedMs(info)));
  writer.Field("mode", ModeText(info.mode)).Key("permissions").BeginObject();
  writer.Field("readable", (info.mode & 0400U) != 0);
  writer.Field("writable", (info.mode & 0200U) != 0);
  writer.Field("executable", (info.mode & 0100U) != 0).EndObject().EndObject();
}

struct Wanted {
  sandbox::ListFiles request;
  std::string session;
  std::string path;  // as it was given
};

Result<Wanted> ParseList(Call& call) {
  Wanted wanted;
  ASSIGN(wanted.path, RequiredText(call.body, "path"));
  call.About("path", wanted.path);
  TRY(sandbox::AbsolutePath(wanted.path));
  ASSIGN(wanted.session, SessionOf(call.body));
  ASSIGN(std::optional<json::Object> options, call.body.OptionalObject("options"));
  std::optional<bool> recursive;
  std::optional<bool> hidden;
  if (options) {
    ASSIGN(recursive, options->OptionalBool("recursive"));
    ASSIGN(hidden, options->OptionalBool("includeHidden"));
  }
  wanted.request.max_depth = recursive.value_or(false) ? sandbox::kAnyDepth : 1;
  wanted.request.hidden = hidden.value_or(false);
  wanted.request.limit = sandbox::kMostListed;
  return wanted;
}

async::Task<Result<std::string>> DoList(Call& call) {
  CO_ASSIGN(Wanted wanted, ParseList(call));
  CO_ASSIGN(auto sandbox, co_await Use(call));
  sandbox::AgentClient& agent = sandbox->agent();
  CO_ASSIGN(std::string path, co_await PathFrom(agent, wanted.session, wanted.path));
  CO_ASSIGN(wanted.request.path, sandbox::AbsolutePath(path));
  json::Writer writer = Success();
  writer.Field("path", wanted.path).Key("files").BeginArray();
  size_t count = 0;
  for (bool more = true; more;) {
    CO_ASSIGN(sandbox::Listing listing, co_await sandbox::List(agent, wanted.request));
    for (const sandbox::FileEntry& entry : listing.entries) WriteEntry(writer, listing.dir, entry);
    count += listing.entries.size();
    more = listing.more && !listing.entries.empty();
    if (more) wanted.request.after = listing.entries.back().path;
    if (count <= kMostEntries) continue;
    co_return Fail(Code::kTooLarge, fmt::format("there are more than {} entries", kMostEntries),
                   "FILE_TOO_LARGE");
  }
  writer.EndArray().Field("count", count);
  co_return Finished(writer);
}

}  // namespace

async::Task<> ListFiles(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoList, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
