// SPDX-License-Identifier: Apache-2.0
#include "agent/setup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>

#include "sys/fd.h"

namespace atl::agent {
namespace {

// True when a line of hosts(5) gives the name an address.
bool NamesHost(const std::string& hosts, const std::string& name) {
  for (size_t at = hosts.find(name); at != std::string::npos; at = hosts.find(name, at + 1)) {
    size_t end = at + name.size();
    bool begins = at > 0 && (hosts[at - 1] == ' ' || hosts[at - 1] == '\t');
    bool ends =
        end == hosts.size() || hosts[end] == ' ' || hosts[end] == '\t' || hosts[end] == '\n';
    if (begins && ends) return true;
  }
  return false;
}

void NameHost() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return;
  // Not through a symlink that the last start's programs may have left.
  auto file = sys::OpenAt(AT_FDCWD, "/etc/hosts", O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
  if (!file) return;
  std::string hosts(64U << 10U, '\0');
  ssize_t size = pread(file->get(), hosts.data(), hosts.size(), 0);
  if (size < 0) return;
  hosts.resize(static_cast<size_t>(size));
  if (NamesHost(hosts, name.data())) return;
  std::string line = (hosts.empty() || hosts.ends_with('\n') ? "" : "\n");
  line += "127.0.1.1 " + std::string(name.data()) + "\n";
  (void)sys::WriteAll(file->get(), line);
}

}  // namespace

void PrepareFileSystem() {
  NameHost();
  mkdir("/workspace", 0755);
}

}  // namespace atl::agent
