// SPDX-License-Identifier: Apache-2.0
#include "oci/layer_attributes.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace atl::oci {
namespace {

constexpr size_t kMostNames = 64U << 10U;
constexpr size_t kMostValue = 64U << 10U;
constexpr uint32_t kRevisionMask = 0xFF000000;
constexpr uint16_t kAclUser = 0x02;
constexpr uint16_t kAclGroup = 0x08;

bool IsUnsupported(int err) { return err == EOPNOTSUPP || err == ENOSYS; }

Result<std::vector<std::string>> Names(int fd) {
  std::string list(kMostNames, '\0');
  ssize_t n = ::flistxattr(fd, list.data(), list.size());
  if (n < 0) {
    if (IsUnsupported(errno)) return std::vector<std::string>();
    return FailErrno(errno, "list the attributes of a file");
  }
  std::vector<std::string> names;
  for (size_t at = 0; at < static_cast<size_t>(n); at += names.back().size() + 1) {
    names.emplace_back(list.c_str() + at);
  }
  return names;
}

std::string ShiftCapabilities(std::string value, const IdShift& shift) {
  vfs_ns_cap_data data{};
  if (value.size() != sizeof(data)) return value;
  std::memcpy(&data, value.data(), sizeof(data));
  if ((data.magic_etc & kRevisionMask) != VFS_CAP_REVISION_3) return value;
  data.rootid = ShiftId(data.rootid, shift);
  std::memcpy(value.data(), &data, sizeof(data));
  return value;
}

std::string ShiftAcl(std::string value, const IdShift& shift) {
  for (size_t at = sizeof(posix_acl_xattr_header);
       at + sizeof(posix_acl_xattr_entry) <= value.size(); at += sizeof(posix_acl_xattr_entry)) {
    posix_acl_xattr_entry entry{};
    std::memcpy(&entry, value.data() + at, sizeof(entry));
    if (entry.e_tag != kAclUser && entry.e_tag != kAclGroup) continue;
    entry.e_id = ShiftId(entry.e_id, shift);
    std::memcpy(value.data() + at, &entry, sizeof(entry));
  }
  return value;
}

}  // namespace

std::string ShiftXAttribute(const std::string& name, std::string value, const IdShift& shift) {
  if (name == "security.capability") return ShiftCapabilities(std::move(value), shift);
  if (name.starts_with("system.posix_acl_")) return ShiftAcl(std::move(value), shift);
  return value;
}

Result<void> CopyXAttributes(int from, int to, const IdShift& shift) {
  ASSIGN(std::vector<std::string> names, Names(from));
  ASSIGN(std::vector<std::string> others, Names(to));
  for (const std::string& name : others) {
    if (std::ranges::find(names, name) == names.end()) (void)::fremovexattr(to, name.c_str());
  }
  std::string buffer(kMostValue, '\0');
  for (const std::string& name : names) {
    ssize_t n = ::fgetxattr(from, name.c_str(), buffer.data(), buffer.size());
    if (n < 0 && (errno == ENODATA || IsUnsupported(errno))) continue;
    if (n < 0) return FailErrno(errno, fmt::format("read the attribute {:.100}", name));
    std::string value =
        ShiftXAttribute(name, std::string(buffer.data(), static_cast<size_t>(n)), shift);
    if (::fsetxattr(to, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    // What a security module says of a file is made anew by it.
    bool label = name.starts_with("security.") && name != "security.capability";
    if (!label) return FailErrno(errno, fmt::format("set the attribute {:.100}", name));
  }
  return {};
}

}  // namespace atl::oci
