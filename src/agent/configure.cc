// SPDX-License-Identifier: Apache-2.0
#include "agent/configure.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "base/shell_quote.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxHosts = 64U << 10U;

// The lines of `hosts`, of which the agent's own names `name` instead of `former`.
std::string Renamed(std::string_view hosts, const std::string& former, const std::string& name) {
  std::string own = "127.0.1.1 " + former;
  std::string out;
  bool named = false;
  while (!hosts.empty()) {
    size_t end = hosts.find('\n');
    std::string_view line = hosts.substr(0, end);
    hosts.remove_prefix(end == std::string_view::npos ? hosts.size() : end + 1);
    if (line == own) {
      if (!named) out += "127.0.1.1 " + name + "\n";
      named = true;
    } else {
      out += std::string(line) + "\n";
    }
  }
  if (!named) out += "127.0.1.1 " + name + "\n";
  return out;
}

Result<void> NameHost(const std::string& path, const std::string& former, const std::string& name) {
  // Not through a symlink, wherever that may lead. An image without the file does without a name.
  auto file = sys::OpenAt(AT_FDCWD, path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  if (!file) return {};
  std::string hosts(kMaxHosts, '\0');
  ssize_t size = ::pread(file->get(), hosts.data(), hosts.size(), 0);
  if (size < 0 || static_cast<size_t>(size) == kMaxHosts) return {};
  hosts.resize(static_cast<size_t>(size));
  std::string renamed = Renamed(hosts, former, name);
  if (renamed == hosts) return {};
  if (::ftruncate(file->get(), 0) != 0) return FailErrno(errno, "write " + path);
  return sys::WriteAll(file->get(), renamed);
}

Result<void> WriteEnv(const ConfigurePlaces& places, const protocol::Configure& request) {
  std::string text;
  for (const auto& [name, value] : request.env)
    text += "export " + name + "=" + ShellQuoted(value) + "\n";
  if (::mkdir(places.env_dir.c_str(), 0755) != 0 && errno != EEXIST) {
    return FailErrno(errno, "make " + places.env_dir);
  }
  ASSIGN(sys::Fd dir,
         sys::OpenAt(AT_FDCWD, places.env_dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // Beside the old one, so that no shell reads a half.
  std::string part = places.env_file + ".part";
  (void)::unlinkat(dir.get(), part.c_str(), 0);
  {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    sys::Fd file(::openat(dir.get(), part.c_str(), flags, 0600));
    if (!file) return FailErrno(errno, "write the environment");
    TRY(sys::WriteAll(file.get(), text));
  }
  if (::renameat(dir.get(), part.c_str(), dir.get(), places.env_file.c_str()) != 0) {
    return FailErrno(errno, "write the environment");
  }
  return {};
}

}  // namespace

Result<void> RunConfigure(const protocol::Configure& request, const ConfigurePlaces& places) {
  TRY(NameHost(places.hosts, request.former, request.hostname));
  if (request.env.empty()) return {};
  return WriteEnv(places, request);
}

}  // namespace atl::agent
