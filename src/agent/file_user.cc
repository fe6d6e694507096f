// SPDX-License-Identifier: Apache-2.0
#include "agent/file_user.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <string_view>

#include "agent/user.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxTable = 1U << 20U;
constexpr size_t kMaxGroups = 256;

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX) {
    return std::nullopt;
  }
  return value;
}

// Takes the part up to the next `separator` off the beginning of `text`.
std::string_view Take(std::string_view& text, char separator) {
  size_t end = std::min(text.find(separator), text.size());
  std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

// The groups that name `member`.
std::vector<uint32_t> GroupsOf(std::string_view member, std::string_view table) {
  std::vector<uint32_t> groups;
  while (!table.empty() && groups.size() < kMaxGroups) {
    std::string_view line = Take(table, '\n');
    Take(line, ':');
    Take(line, ':');
    std::optional<uint32_t> gid = Number(Take(line, ':'));
    for (std::string_view members = line; gid && !members.empty();) {
      if (Take(members, ',') == member) groups.push_back(*gid);
    }
  }
  return groups;
}

}  // namespace

Result<FileUser> FindFileUser(const std::string& text) {
  // Without the tables numbers still mean something.
  std::string passwd = sys::ReadFile("/etc/passwd", kMaxTable).value_or("");
  std::string group = sys::ReadFile("/etc/group", kMaxTable).value_or("");
  ASSIGN(User found, FindUser(text, passwd, group));
  FileUser user{.uid = found.uid, .gid = found.gid, .groups = {found.gid}};
  if (found.name.empty()) return user;
  std::vector<uint32_t> groups = GroupsOf(found.name, group);
  user.groups.insert(user.groups.end(), groups.begin(), groups.end());
  return user;
}

Result<FileOwner> FindOwner(const std::string& text) {
  bool only_group = text.starts_with(':');
  ASSIGN(FileUser user, FindFileUser(only_group ? "0" + text : text));
  FileOwner owner;
  if (!only_group) owner.uid = user.uid;
  if (text.contains(':')) owner.gid = user.gid;
  return owner;
}

Result<void> BecomeUser(const FileUser& user) {
  // By the system calls themselves: those of the C library would look for other threads.
  if (syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
      syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
      syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) {
    return FailErrno(errno, "become the user " + std::to_string(user.uid));
  }
  // A change of user undoes both.
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return {};
}

}  // namespace atl::agent
