// SPDX-License-Identifier: Apache-2.0
// read, write, edit, list, find and grep.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "api/mcp/tool.h"
#include "json/utf8.h"
#include "sandbox/files.h"
#include "sandbox/grep.h"

namespace atl::api::mcp {
namespace {

constexpr int64_t kLines = 2000;
constexpr size_t kMaxRead = 128UL << 10U;
constexpr size_t kMaxEdited = 16UL << 20U;
constexpr int64_t kEntries = 500;
constexpr int64_t kMostEntries = 5000;
constexpr int64_t kMatches = 200;
constexpr int64_t kMostMatches = 2000;
constexpr int64_t kSearchMs = 30'000;
constexpr int64_t kMostSearchMs = 600'000;
constexpr size_t kMaxMatchText = 500;

Unexpected NotText(std::string_view path) {
  return Fail(Code::kInvalidArgument, fmt::format("{} is not UTF-8 text", path), "NOT_TEXT");
}

// Takes lines out of pieces of a file.
class LineWindow {
 public:
  LineWindow(int64_t first, int64_t count) : first_(first), end_(first + count) {}

  // False: nothing of what follows is wanted.
  bool Take(std::string_view piece) {
    while (!piece.empty()) {
      if (line_ >= end_ || text_.size() >= kMaxRead) {
        more_ = true;
        return false;
      }
      size_t newline = piece.find('\n');
      size_t size = newline == std::string_view::npos ? piece.size() : newline + 1;
      if (line_ >= first_) {
        size = std::min(size, kMaxRead - text_.size());
        text_ += piece.substr(0, size);
      }
      if (piece[size - 1] == '\n') ++line_;
      piece.remove_prefix(size);
    }
    return true;
  }

  bool more() const { return more_; }
  int64_t line() const { return line_; }
  std::string TakeText() {
    if (more_) text_.resize(text_.size() - json::IncompleteTail(text_));
    return std::move(text_);
  }

 private:
  int64_t first_;
  int64_t end_;
  int64_t line_ = 1;  // of the next byte
  bool more_ = false;
  std::string text_;
};

async::Task<Result<Output>> Read(Call call) {
  std::string path = Text(call, "path");
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  sandbox::ReadFile request;
  request.path = path;
  CO_ASSIGN(auto reader,
            co_await sandbox::OpenFile(sandbox->agent(), call.services.registry.streams(),
                                       std::move(request)));
  LineWindow window(Integer(call, "offset", 1), Integer(call, "limit", kLines));
  while (true) {
    CO_ASSIGN(std::string_view piece, co_await reader->Next());
    if (piece.empty() || !window.Take(piece)) break;
  }
  std::string text = window.TakeText();
  if (!json::IsUtf8(text)) co_return NotText(path);
  json::Writer writer;
  writer.BeginObject().Field("content", text).Field("more", window.more());
  writer.Field("size", reader->info().size);
  if (window.more()) writer.Field("nextOffset", window.line());
  writer.EndObject();
  if (window.more()) {
    if (!text.ends_with('\n')) text += '\n';
    text += fmt::format("[cut: there is more from line {} on]", window.line());
  }
  co_return Output{.text = std::move(text), .structured = writer.Take()};
}

async::Task<Result<Output>> Write(Call call) {
  std::string path = Text(call, "path");
  std::string content = Text(call, "content");
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  sandbox::WriteFile request;
  request.path = path;
  request.parents = true;
  CO_ASSIGN(sandbox::FileInfo info,
            co_await sandbox::WriteWholeFile(sandbox->agent(), call.services.registry.streams(),
                                             std::move(request), content));
  json::Writer writer;
  writer.BeginObject().Field("path", path).Field("size", info.size).EndObject();
  co_return Output{.text = fmt::format("Wrote {} bytes to {}", content.size(), path),
                   .structured = writer.Take()};
}

struct Edited {
  std::string bytes;
  size_t count = 0;
};

Result<Edited> Replace(const Call& call, std::string_view path, std::string_view bytes) {
  std::string from = Text(call, "old_string");
  std::string to = Text(call, "new_string");
  bool all = Flag(call, "replace_all");
  Edited edited;
  size_t begin = 0;
  for (size_t at = bytes.find(from); at != std::string_view::npos; at = bytes.find(from, begin)) {
    if (edited.count == 1 && !all) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("old_string is in {} more than once: give more of its "
                              "surroundings, or replace_all",
                              path),
                  "MATCHES_MANY");
    }
    edited.bytes += bytes.substr(begin, at - begin);
    edited.bytes += to;
    if (edited.bytes.size() > kMaxEdited) {
      return Fail(Code::kTooLarge, fmt::format("{} would have more than 16 MiB", path),
                  "FILE_TOO_LARGE");
    }
    begin = at + from.size();
    ++edited.count;
  }
  if (edited.count == 0) {
    return Fail(Code::kFailedPrecondition, fmt::format("old_string is not in {}", path),
                "NO_MATCH");
  }
  edited.bytes += bytes.substr(begin);
  return edited;
}

async::Task<Result<Output>> Edit(Call call) {
  std::string path = Text(call, "path");
  if (Text(call, "old_string").empty()) {
    co_return Fail(Code::kInvalidArgument, "old_string is empty", "VALIDATION_FAILED");
  }
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  sandbox::ReadFile request;
  request.path = path;
  CO_ASSIGN(sandbox::FileContent content,
            co_await sandbox::ReadWholeFile(sandbox->agent(), call.services.registry.streams(),
                                            std::move(request), kMaxEdited));
  CO_ASSIGN(Edited edited, Replace(call, path, content.bytes));
  sandbox::WriteFile write;
  write.path = path;
  CO_TRY(co_await sandbox::WriteWholeFile(sandbox->agent(), call.services.registry.streams(),
                                          std::move(write), edited.bytes));
  json::Writer writer;
  writer.BeginObject().Field("path", path).Field("replacements", edited.count).EndObject();
  co_return Output{.text = fmt::format("Replaced {} in {}", edited.count, path),
                   .structured = writer.Take()};
}

Output ListingOutput(const sandbox::Listing& listing) {
  Output output;
  json::Writer writer;
  writer.BeginObject().Field("path", listing.dir).Key("entries").BeginArray();
  for (const sandbox::FileEntry& entry : listing.entries) {
    bool directory = entry.info.kind == sandbox::FileKind::kDirectory;
    writer.BeginObject().Field("path", entry.path);
    writer.Field("type", sandbox::KindName(entry.info.kind));
    writer.Field("size", entry.info.size).EndObject();
    output.text += entry.path;
    output.text += directory ? "/\n" : fmt::format("  {}\n", entry.info.size);
  }
  writer.EndArray().Field("more", listing.more).Field("skipped", listing.skipped).EndObject();
  if (listing.entries.empty()) output.text = "[nothing]";
  if (listing.more) output.text += "[cut: there are more]";
  output.structured = writer.Take();
  return output;
}

async::Task<Result<Output>> ListWith(Call call, sandbox::ListFiles request) {
  request.path = Text(call, "path", "/workspace");
  request.exclude = TextList(call, "exclude");
  request.limit = static_cast<uint32_t>(Integer(call, "limit", kEntries));
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  CO_ASSIGN(sandbox::Listing listing, co_await sandbox::List(sandbox->agent(), std::move(request)));
  co_return ListingOutput(listing);
}

async::Task<Result<Output>> List(Call call) { return ListWith(std::move(call), {}); }

async::Task<Result<Output>> Find(Call call) {
  sandbox::ListFiles request;
  request.max_depth = sandbox::kAnyDepth;
  request.name = Text(call, "name");
  return ListWith(std::move(call), std::move(request));
}

async::Task<Result<Output>> Grep(Call call) {
  sandbox::GrepRequest request;
  request.pattern = Text(call, "pattern");
  request.path = Text(call, "path", "/workspace");
  request.fixed = Flag(call, "fixed");
  request.ignore_case = Flag(call, "ignore_case");
  request.include = TextList(call, "include");
  request.exclude = TextList(call, "exclude");
  request.limit = static_cast<uint32_t>(Integer(call, "limit", kMatches));
  request.timeout = std::chrono::milliseconds(Integer(call, "timeout_ms", kSearchMs));
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  CO_ASSIGN(sandbox::GrepResult found,
            co_await sandbox::Grep(sandbox->agent(), std::move(request)));
  Output output;
  json::Writer writer;
  writer.BeginObject().Key("matches").BeginArray();
  for (const sandbox::GrepMatch& match : found.matches) {
    std::string line = match.text.substr(0, kMaxMatchText);
    line.resize(line.size() - json::IncompleteTail(line));
    writer.BeginObject().Field("path", match.path).Field("line", match.line);
    writer.Field("text", line).EndObject();
    output.text += fmt::format("{}:{}:{}\n", match.path, match.line, line);
  }
  writer.EndArray().Field("more", found.more).Field("timedOut", found.timed_out).EndObject();
  if (found.timed_out) {
    output.text += "[time is up: not all was searched]";
  } else if (found.more) {
    output.text += "[cut: there are more]";
  } else if (found.matches.empty()) {
    output.text = "[no match]";
  }
  output.structured = writer.Take();
  co_return output;
}

constexpr std::string_view kAboutPath = "Absolute, or relative to /workspace.";
constexpr Argument kPath{.name = "path", .about = kAboutPath, .required = true};
constexpr Argument kDir{.name = "path", .about = "A directory; /workspace when it is not there."};
constexpr Argument kExclude{.name = "exclude",
                            .type = Type::kTextList,
                            .about = "Globs of names, such as node_modules, that are left out."};
constexpr Argument kLimit{.name = "limit",
                          .type = Type::kInteger,
                          .about = "At most so many; 500 when it is not there.",
                          .min = 1,
                          .max = kMostEntries};

constexpr Argument kReadArguments[] = {
    kPath,
    {.name = "offset", .type = Type::kInteger, .about = "The first line, from 1.", .min = 1},
    {.name = "limit",
     .type = Type::kInteger,
     .about = "How many lines; 2000 when it is not there.",
     .min = 1},
};
constexpr Argument kWriteArguments[] = {
    kPath,
    {.name = "content", .type = Type::kContent, .about = "All of the file.", .required = true},
};
constexpr Argument kEditArguments[] = {
    kPath,
    {.name = "old_string",
     .type = Type::kContent,
     .about = "The exact text that is replaced.",
     .required = true},
    {.name = "new_string", .type = Type::kContent, .about = "By what.", .required = true},
    {.name = "replace_all",
     .type = Type::kBoolean,
     .about = "Everywhere; otherwise old_string must be there exactly once."},
};
constexpr Argument kListArguments[] = {kDir, kExclude, kLimit};
constexpr Argument kFindArguments[] = {
    {.name = "name", .about = "A glob that the name matches, such as *.ts.", .required = true},
    kDir,
    kExclude,
    kLimit,
};
constexpr Argument kGrepArguments[] = {
    {.name = "pattern", .about = "A regular expression, or text with fixed.", .required = true},
    {.name = "path", .about = "A directory or a file; /workspace when it is not there."},
    {.name = "fixed", .type = Type::kBoolean, .about = "The pattern is text."},
    {.name = "ignore_case", .type = Type::kBoolean, .about = "Letters match in either case."},
    {.name = "include", .type = Type::kTextList, .about = "Globs of files to search alone."},
    kExclude,
    {.name = "limit",
     .type = Type::kInteger,
     .about = "At most so many lines; 200 when it is not there.",
     .min = 1,
     .max = kMostMatches},
    {.name = "timeout_ms",
     .type = Type::kInteger,
     .about = "30,000 when it is not there; then what was found so far.",
     .min = 1,
     .max = kMostSearchMs},
};

constexpr Tool kTools[] = {
    {.name = "read",
     .title = "Read a file",
     .about = "Returns lines of a text file.",
     .arguments = kReadArguments,
     .handler = Read,
     .read_only = true},
    {.name = "write",
     .title = "Write a file",
     .about = "Makes or replaces a file, with the directories above it.",
     .arguments = kWriteArguments,
     .handler = Write,
     .destructive = true},
    {.name = "edit",
     .title = "Edit a file",
     .about = "Replaces exact text in a file.",
     .arguments = kEditArguments,
     .handler = Edit,
     .destructive = true},
    {.name = "list",
     .title = "List a directory",
     .about = "Returns what is in a directory, by name.",
     .arguments = kListArguments,
     .handler = List,
     .read_only = true},
    {.name = "find",
     .title = "Find files by name",
     .about = "Returns everything below a directory whose name matches a glob.",
     .arguments = kFindArguments,
     .handler = Find,
     .read_only = true},
    {.name = "grep",
     .title = "Search in files",
     .about = "Returns the lines of files below a directory that match a pattern.",
     .arguments = kGrepArguments,
     .handler = Grep,
     .read_only = true},
};

}  // namespace

std::span<const Tool> FileTools() { return kTools; }

}  // namespace atl::api::mcp
