// SPDX-License-Identifier: Apache-2.0
#include "agent/user.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "sys/fd.h"
#include "sys/idmap.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxFile = 1U << 20U;
constexpr size_t kMaxSpec = 256;
constexpr size_t kMaxGroups = 256;

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The last one means "as it is" to the kernel.
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value == ~0U) {
    return std::nullopt;
  }
  return value;
}

// The first N fields of a line that is separated by colons; nothing when it has fewer.
template <size_t N>
std::optional<std::array<std::string_view, N>> FieldsOf(std::string_view line) {
  std::array<std::string_view, N> fields;
  for (size_t i = 0; i < N; ++i) {
    size_t colon = line.find(':');
    if (colon == std::string_view::npos && i + 1 < N) return std::nullopt;
    fields[i] = line.substr(0, colon);
    line.remove_prefix(std::min(line.size(), fields[i].size() + 1));
  }
  return fields;
}

// The first line whose name is `name`, or whose id is `id`.
template <size_t N>
std::optional<std::array<std::string_view, N>> FindLine(std::string_view text,
                                                        std::string_view name,
                                                        std::optional<uint32_t> id) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    auto fields = FieldsOf<N>(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!fields) continue;
    if (id ? Number((*fields)[2]) == id : (*fields)[0] == name) return fields;
  }
  return std::nullopt;
}

// Takes the part up to the next `separator` off the beginning of `text`.
std::string_view Take(std::string_view& text, char separator) {
  size_t end = std::min(text.find(separator), text.size());
  std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

// The groups that name `member`, but for `gid`.
std::vector<uint32_t> GroupsOf(std::string_view member, uint32_t gid, std::string_view table) {
  std::vector<uint32_t> groups;
  while (!table.empty() && groups.size() < kMaxGroups) {
    std::string_view line = Take(table, '\n');
    Take(line, ':');
    Take(line, ':');
    std::optional<uint32_t> group = Number(Take(line, ':'));
    bool names = false;
    while (!line.empty()) names |= Take(line, ',') == member;
    if (group && names && *group != gid) groups.push_back(*group);
  }
  return groups;
}

Unexpected NotFound(std::string_view what, std::string_view name) {
  return Fail(Code::kInvalidArgument,
              "the sandbox has no " + std::string(what) + " " + std::string(name),
              "USER_NOT_FOUND");
}

Result<uint32_t> FindGroup(std::string_view name, std::string_view group) {
  std::optional<uint32_t> gid = Number(name);
  if (!gid) {
    if (auto found = FindLine<3>(group, name, std::nullopt)) gid = Number((*found)[2]);
  }
  if (!gid || *gid >= sys::kIdsOfSandbox) return NotFound("group", name);
  return *gid;
}

bool HasVariable(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [&](const std::string& entry) {
    return entry.starts_with(name) && entry.size() > name.size() && entry[name.size()] == '=';
  });
}

}  // namespace

Result<User> FindUser(std::string_view spec, std::string_view passwd, std::string_view group) {
  if (spec.size() > kMaxSpec) return Fail(Code::kInvalidArgument, "the user's name is too long");
  size_t colon = std::min(spec.find(':'), spec.size());
  std::string_view name = spec.substr(0, colon);
  std::optional<uint32_t> uid = Number(name);
  auto line = FindLine<6>(passwd, name, uid);
  if (!line && !uid) return NotFound("user", name);
  User user{.uid = uid.value_or(0), .gid = uid.value_or(0)};
  if (line) {
    std::optional<uint32_t> line_uid = Number((*line)[2]);
    std::optional<uint32_t> line_gid = Number((*line)[3]);
    if (!line_uid || !line_gid) return NotFound("user", name);
    user = {.uid = *line_uid,
            .gid = *line_gid,
            .name = std::string((*line)[0]),
            .home = std::string((*line)[5])};
    if (user.home.empty()) user.home = "/";
  }
  // The kernel knows no other ids here.
  if (user.uid >= sys::kIdsOfSandbox || user.gid >= sys::kIdsOfSandbox) {
    return NotFound("user", name);
  }
  if (colon < spec.size()) {
    ASSIGN(user.gid, FindGroup(spec.substr(colon + 1), group));
  }
  if (!user.name.empty()) user.groups = GroupsOf(user.name, user.gid, group);
  return user;
}

Result<void> SetUser(std::string_view spec, Program* program) {
  if (spec.empty()) return {};
  // Without the files numbers still mean something.
  std::string passwd = sys::ReadFileAt(AT_FDCWD, "/etc/passwd", kMaxFile).value_or("");
  std::string group = sys::ReadFileAt(AT_FDCWD, "/etc/group", kMaxFile).value_or("");
  ASSIGN(User user, FindUser(spec, passwd, group));
  program->uid = user.uid;
  program->gid = user.gid;
  program->groups = std::move(user.groups);
  if (!HasVariable(program->env, "HOME")) program->env.push_back("HOME=" + user.home);
  for (std::string_view name : {"USER", "LOGNAME"}) {
    if (user.name.empty() || HasVariable(program->env, name)) continue;
    program->env.push_back(std::string(name) + "=" + user.name);
  }
  return {};
}

}  // namespace atl::agent
