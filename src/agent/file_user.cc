// SPDX-License-Identifier: Apache-2.0
#include "agent/file_user.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>

#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxTable = 1U << 20U;
constexpr size_t kMaxName = 256;

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

Unexpected Unknown(std::string_view what, std::string_view name) {
  return Fail(Code::kInvalidArgument,
              "there is no " + std::string(what) + " " + std::string(name) + " in the sandbox",
              "USER_NOT_FOUND");
}

struct Account {
  std::string name;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

std::optional<Account> FindAccount(std::string_view wanted) {
  auto table = sys::ReadFile("/etc/passwd", kMaxTable);
  if (!table) return std::nullopt;
  std::optional<uint32_t> number = Number(wanted);
  for (std::string_view rest = *table; !rest.empty();) {
    std::string_view line = Take(rest, '\n');
    std::string_view name = Take(line, ':');
    Take(line, ':');
    std::optional<uint32_t> uid = Number(Take(line, ':'));
    std::optional<uint32_t> gid = Number(Take(line, ':'));
    if (!uid || !gid || name.empty()) continue;
    if (number ? *uid == *number : name == wanted) {
      return Account{.name = std::string(name), .uid = *uid, .gid = *gid};
    }
  }
  return std::nullopt;
}

struct Groups {
  std::optional<uint32_t> wanted;   // the number of the group that was asked for
  std::vector<uint32_t> of_member;  // those that the member is in
};

Groups ReadGroups(std::string_view wanted, std::string_view member) {
  Groups groups;
  auto table = sys::ReadFile("/etc/group", kMaxTable);
  if (!table) return groups;
  for (std::string_view rest = *table; !rest.empty();) {
    std::string_view line = Take(rest, '\n');
    std::string_view name = Take(line, ':');
    Take(line, ':');
    std::optional<uint32_t> gid = Number(Take(line, ':'));
    if (!gid) continue;
    if (!wanted.empty() && name == wanted) groups.wanted = gid;
    for (std::string_view members = Take(line, ':'); !members.empty();) {
      bool is_in = Take(members, ',') == member && !member.empty();
      if (is_in && groups.of_member.size() < 256) groups.of_member.push_back(*gid);
    }
  }
  return groups;
}

Result<uint32_t> FindGroup(std::string_view group) {
  if (std::optional<uint32_t> number = Number(group)) return *number;
  std::optional<uint32_t> found = ReadGroups(group, {}).wanted;
  if (!found) return Unknown("group", group);
  return *found;
}

}  // namespace

Result<FileUser> FindUser(const std::string& text) {
  if (text.size() > kMaxName) return Fail(Code::kInvalidArgument, "the user's name is too long");
  std::string_view group = text;
  std::string_view name = Take(group, ':');
  if (name.empty()) return Fail(Code::kInvalidArgument, "the user has no name");
  FileUser user;
  std::optional<Account> account = FindAccount(name);
  if (account) {
    user = {.uid = account->uid, .gid = account->gid};
    user.groups = ReadGroups({}, account->name).of_member;
  } else {
    std::optional<uint32_t> number = Number(name);
    if (!number) return Unknown("user", name);
    user = {.uid = *number, .gid = *number};
  }
  if (!group.empty()) {
    ASSIGN(user.gid, FindGroup(group));
  }
  user.groups.push_back(user.gid);
  return user;
}

Result<FileOwner> FindOwner(const std::string& text) {
  if (text.size() > kMaxName) return Fail(Code::kInvalidArgument, "the owner's name is too long");
  FileOwner owner;
  std::string_view group = text;
  std::string_view name = Take(group, ':');
  if (!name.empty()) {
    ASSIGN(FileUser user, FindUser(std::string(name)));
    owner.uid = user.uid;
  }
  if (!group.empty()) {
    ASSIGN(owner.gid, FindGroup(group));
  }
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
