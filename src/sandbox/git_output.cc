// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_output.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <utility>

namespace atl::sandbox {
namespace {

constexpr size_t kMostParents = 64;
constexpr size_t kMostRefs = 256;
constexpr size_t kMostPushed = 1000;
constexpr size_t kMostHexDigits = 64;

Unexpected Odd(std::string_view what) {
  return Fail(Code::kBadGateway,
              std::string("the sandbox's git printed what is none of its ") + std::string(what),
              "GIT_OPERATION_FAILED");
}

// Takes the text up to `end`, and that too; the whole of it when there is none.
std::string_view Take(std::string_view& text, char end) {
  size_t at = text.find(end);
  std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

// Records end with a NUL each: of what was cut only those that are whole.
std::string_view Whole(std::string_view bytes, bool cut) {
  if (!cut) return bytes;
  size_t end = bytes.rfind('\0');
  return end == std::string_view::npos ? std::string_view() : bytes.substr(0, end + 1);
}

template <class Number>
bool ParseNumber(std::string_view text, Number& into) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool IsObject(std::string_view text) {
  return text.size() >= 40 && text.size() <= kMostHexDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsStatusLetter(char c) {
  return std::string_view(".MTADRCU").find(c) != std::string_view::npos;
}

char Shown(char c) { return c == '.' ? ' ' : c; }

void ParseHeader(std::string_view line, GitStatus& status) {
  std::string_view name = Take(line, ' ');
  if (name == "branch.oid" && IsObject(line)) status.commit = line;
  if (name == "branch.head" && line != "(detached)") status.branch = line;
  if (name == "branch.upstream") status.upstream = line;
  if (name != "branch.ab") return;
  std::string_view ahead = Take(line, ' ');
  uint64_t more = 0;
  uint64_t less = 0;
  if (ahead.starts_with('+') && ParseNumber(ahead.substr(1), more)) status.ahead = more;
  if (line.starts_with('-') && ParseNumber(line.substr(1), less)) status.behind = less;
}

// An entry of `fields` fields before its path.
bool ParseEntry(std::string_view line, int fields, GitChange& change) {
  std::string_view letters = Take(line, ' ');
  if (letters.size() != 2 || !IsStatusLetter(letters[0]) || !IsStatusLetter(letters[1])) {
    return false;
  }
  change.index = Shown(letters[0]);
  change.worktree = Shown(letters[1]);
  change.submodule = Take(line, ' ').starts_with('S');
  for (int field = 2; field < fields; ++field) {
    if (Take(line, ' ').empty()) return false;
  }
  change.path = line;
  return !line.empty();
}

// `rest`: what follows, of which a rename takes its old path.
bool ParseChange(std::string_view line, std::string_view& rest, GitChange& change) {
  char kind = line[0];
  if (line.size() < 3 || line[1] != ' ') return false;
  line.remove_prefix(2);
  switch (kind) {
    case '?':
    case '!':
      change.index = kind;
      change.worktree = kind;
      change.path = line;
      return true;
    case '1':
      return ParseEntry(line, 7, change);
    case '2':
      if (!ParseEntry(line, 8, change) || rest.empty()) return false;
      change.from = Take(rest, '\0');
      return !change.from.empty();
    case 'u':
      change.conflict = true;
      return ParseEntry(line, 9, change);
    default:
      return false;
  }
}

std::vector<std::string> Split(std::string_view list, std::string_view separator, size_t most) {
  std::vector<std::string> parts;
  while (!list.empty() && parts.size() < most) {
    size_t end = std::min(list.find(separator), list.size());
    if (end > 0) parts.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + separator.size(), list.size()));
  }
  return parts;
}

// "HEAD -> refs/heads/main, tag: refs/tags/v1", in full names.
std::vector<std::string> ParseRefs(std::string_view decoration) {
  std::vector<std::string> refs;
  for (std::string& name : Split(decoration, ", ", kMostRefs)) {
    std::string_view plain = name;
    if (plain.starts_with("HEAD -> ")) plain.remove_prefix(8);
    if (plain.starts_with("tag: ")) plain.remove_prefix(5);
    if (plain.starts_with("refs/")) refs.emplace_back(plain);
  }
  return refs;
}

bool ParseCommit(std::string_view& rest, GitCommit& commit) {
  commit.commit = Take(rest, '\0');
  if (!IsObject(commit.commit)) return false;
  commit.parents = Split(Take(rest, '\0'), " ", kMostParents);
  if (!std::ranges::all_of(commit.parents, IsObject)) return false;
  commit.author = Take(rest, '\0');
  commit.author_email = Take(rest, '\0');
  // A commit that somebody wrote by hand has any time, or none.
  if (!ParseNumber(Take(rest, '\0'), commit.author_time)) commit.author_time = 0;
  commit.committer = Take(rest, '\0');
  commit.committer_email = Take(rest, '\0');
  if (!ParseNumber(Take(rest, '\0'), commit.commit_time)) commit.commit_time = 0;
  commit.refs = ParseRefs(Take(rest, '\0'));
  if (rest.empty()) return false;
  commit.message = Take(rest, '\0');
  while (commit.message.ends_with('\n')) commit.message.pop_back();
  return true;
}

// ":100644 100644 <object> <object> R100"
bool ParseRawHead(std::string_view head, char& status) {
  for (int field = 0; field < 4; ++field) {
    if (Take(head, ' ').empty()) return false;
  }
  if (head.empty() || std::string_view("ACDMRTUXB").find(head[0]) == std::string_view::npos) {
    return false;
  }
  status = head[0];
  return true;
}

bool ParseRawFile(std::string_view head, std::string_view& rest, GitFileDiff& file) {
  if (!ParseRawHead(head, file.status)) return false;
  if (file.status == 'R' || file.status == 'C') {
    file.from = Take(rest, '\0');
    if (file.from.empty()) return false;
  }
  file.path = Take(rest, '\0');
  return !file.path.empty();
}

struct Counts {
  std::optional<uint64_t> added;
  std::optional<uint64_t> removed;
  std::string_view path;
};

// "3\t1\tpath", "-\t-\tpath" of what is no text, or "3\t1\t" with two paths behind it.
bool ParseCounts(std::string_view line, std::string_view& rest, Counts& counts) {
  uint64_t number = 0;
  std::string_view added = Take(line, '\t');
  if (ParseNumber(added, number)) counts.added = number;
  std::string_view removed = Take(line, '\t');
  if (ParseNumber(removed, number)) counts.removed = number;
  if ((!counts.added && added != "-") || (!counts.removed && removed != "-")) return false;
  if (line.empty()) {
    Take(rest, '\0');
    line = Take(rest, '\0');
  }
  counts.path = line;
  return !line.empty();
}

}  // namespace

Result<GitStatus> ParseGitStatus(std::string_view bytes, bool cut, size_t most) {
  GitStatus status;
  status.more = cut;
  std::string_view rest = Whole(bytes, cut);
  while (!rest.empty()) {
    std::string_view line = Take(rest, '\0');
    if (line.starts_with("# ")) {
      ParseHeader(line.substr(2), status);
      continue;
    }
    if (status.changes.size() >= most) {
      status.more = true;
      break;
    }
    GitChange change;
    bool cut_here = cut && rest.empty();
    if (line.empty() || !ParseChange(line, rest, change)) {
      if (cut_here) break;
      return Odd("status");
    }
    status.changes.push_back(std::move(change));
  }
  return status;
}

Result<std::vector<GitCommit>> ParseGitLog(std::string_view bytes, bool cut, size_t most) {
  std::vector<GitCommit> commits;
  std::string_view rest = Whole(bytes, cut);
  while (!rest.empty() && commits.size() < most) {
    GitCommit commit;
    if (!ParseCommit(rest, commit)) {
      if (cut && rest.empty()) break;
      return Odd("log");
    }
    commits.push_back(std::move(commit));
  }
  return commits;
}

Result<std::vector<GitBranch>> ParseGitBranches(std::string_view bytes, bool cut, size_t most) {
  std::vector<GitBranch> branches;
  std::string_view rest = cut ? bytes.substr(0, bytes.rfind('\n') + 1) : bytes;
  while (!rest.empty() && branches.size() < most) {
    std::string_view line = Take(rest, '\n');
    GitBranch branch;
    std::string_view name = Take(line, '\0');
    branch.remote = name.starts_with("refs/remotes/");
    if (!branch.remote && !name.starts_with("refs/heads/")) return Odd("branches");
    branch.name = name.substr(branch.remote ? 13 : 11);
    branch.commit = Take(line, '\0');
    if (branch.name.empty() || !IsObject(branch.commit)) return Odd("branches");
    branch.upstream = Take(line, '\0');
    branch.current = Take(line, '\0') == "*";
    if (!ParseNumber(Take(line, '\0'), branch.commit_time)) branch.commit_time = 0;
    bool other_name = !Take(line, '\0').empty();  // origin/HEAD, which is no branch of its own
    branch.subject = Take(line, '\0');
    if (!other_name) branches.push_back(std::move(branch));
  }
  return branches;
}

Result<GitDiffFiles> ParseGitDiff(std::string_view bytes, bool cut, size_t most) {
  GitDiffFiles diff;
  diff.more = cut;
  std::string_view rest = Whole(bytes, cut);
  // First a record for each file, then the counts of each, which name it again.
  std::unordered_map<std::string_view, size_t> by_path;
  bool counting = false;
  while (!rest.empty()) {
    std::string_view line = Take(rest, '\0');
    if (line.starts_with(':') && !counting) {
      GitFileDiff file;
      if (!ParseRawFile(line.substr(1), rest, file)) {
        if (cut && rest.empty()) break;
        return Odd("diff");
      }
      diff.more |= diff.files.size() >= most;
      if (diff.files.size() < most) diff.files.push_back(std::move(file));
      continue;
    }
    for (size_t i = 0; !counting && i < diff.files.size(); ++i) by_path[diff.files[i].path] = i;
    counting = true;
    Counts counts;
    if (!ParseCounts(line, rest, counts)) {
      if (cut && rest.empty()) break;
      return Odd("diff");
    }
    auto at = by_path.find(counts.path);
    if (at == by_path.end()) continue;
    diff.files[at->second].added = counts.added;
    diff.files[at->second].removed = counts.removed;
  }
  return diff;
}

Result<std::vector<GitPushed>> ParseGitPush(std::string_view bytes) {
  std::vector<GitPushed> pushed;
  while (!bytes.empty() && pushed.size() < kMostPushed) {
    std::string_view line = Take(bytes, '\n');
    // Others are "To <url>", "Done" and what git says of itself.
    if (line.size() < 4 || line[1] != '\t') continue;
    GitPushed one{.flag = line[0], .from = {}, .to = {}, .summary = {}};
    if (std::string_view(" +-*!=").find(one.flag) == std::string_view::npos) continue;
    line.remove_prefix(2);
    std::string_view refs = Take(line, '\t');
    size_t colon = refs.find(':');
    if (colon == std::string_view::npos) continue;
    one.from = refs.substr(0, colon);
    one.to = refs.substr(colon + 1);
    one.summary = line.substr(0, 500);
    pushed.push_back(std::move(one));
  }
  return pushed;
}

std::optional<GitProgress> ParseGitProgress(std::string_view line) {
  if (line.starts_with("remote: ")) line.remove_prefix(8);
  size_t colon = line.find(": ");
  if (colon == 0 || colon == std::string_view::npos || colon > 64) return std::nullopt;
  GitProgress progress{.phase = std::string(line.substr(0, colon))};
  line.remove_prefix(colon + 2);
  size_t open = line.find('(');
  size_t slash = line.find('/', std::min(open, line.size()));
  size_t close = line.find(')', std::min(slash, line.size()));
  if (line.find('%') < open && close != std::string_view::npos) {
    bool numbers = ParseNumber(line.substr(open + 1, slash - open - 1), progress.done) &&
                   ParseNumber(line.substr(slash + 1, close - slash - 1), progress.total);
    return numbers ? std::optional(std::move(progress)) : std::nullopt;
  }
  // "Enumerating objects: 12, done."
  std::string_view number = line.substr(0, line.find_first_of(", "));
  if (!ParseNumber(number, progress.done)) return std::nullopt;
  return progress;
}

}  // namespace atl::sandbox
