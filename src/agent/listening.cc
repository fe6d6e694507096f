// SPDX-License-Identifier: Apache-2.0
#include "agent/listening.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxPorts = 1024;
constexpr size_t kMaxTable = 4U << 20U;  // some 25,000 sockets of either family
constexpr size_t kMaxArguments = 32;
constexpr size_t kMaxCommandLine = 1024;
// Of all command lines together, so that the answer fits into a frame.
constexpr size_t kMaxText = 96U << 10U;
constexpr std::chrono::milliseconds kSearchLimit{1000};
constexpr std::string_view kListen = "0A";

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

template <class T>
std::optional<T> Number(std::string_view text, int base) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    size_t begin = line.find_first_not_of(' ');
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    size_t end = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

// Words of 32 bits in the machine's order, each in network order.
std::optional<std::string> Address(std::string_view hex) {
  if (hex.size() != 8 && hex.size() != 32) return std::nullopt;
  std::array<uint32_t, 4> words{};
  for (size_t i = 0; i < hex.size() / 8; ++i) {
    std::optional<uint32_t> word = Number<uint32_t>(hex.substr(8 * i, 8), 16);
    if (!word) return std::nullopt;
    words.at(i) = *word;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  int family = hex.size() == 8 ? AF_INET : AF_INET6;
  if (inet_ntop(family, words.data(), text.data(), text.size()) == nullptr) return std::nullopt;
  return std::string(text.data());
}

// Calls `visit` with every line behind the first; false when the table was too long to be read.
template <class Visit>
bool EachLine(const std::string& path, Visit visit) {
  Result<std::string> table = sys::ReadFile(path, kMaxTable);
  if (!table) return table.error().code != Code::kTooLarge;
  std::string_view rest = *table;
  for (bool first = true; !rest.empty(); first = false) {
    size_t end = std::min(rest.find('\n'), rest.size());
    if (!first) visit(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

using Inodes = std::unordered_map<uint64_t, size_t>;  // of a socket: its place in the list

// The inode of "socket:[123]".
std::optional<uint64_t> SocketInode(int dir, const char* name) {
  constexpr std::string_view kPrefix = "socket:[";
  std::array<char, 64> target{};
  ssize_t n = readlinkat(dir, name, target.data(), target.size());
  if (n <= 0) return std::nullopt;
  std::string_view text(target.data(), static_cast<size_t>(n));
  if (!text.starts_with(kPrefix) || !text.ends_with(']')) return std::nullopt;
  text = text.substr(kPrefix.size(), text.size() - kPrefix.size() - 1);
  return Number<uint64_t>(text, 10);
}

void Describe(const std::string& process, uint32_t pid, size_t& text_left,
              protocol::ListeningPort& port) {
  port.pid = pid;
  if (auto comm = sys::ReadFile(process + "/comm", 64)) {
    port.name = comm->substr(0, comm->find('\n'));
  }
  auto fd = sys::Open(process + "/cmdline", O_RDONLY);
  if (!fd) return;
  std::array<char, kMaxCommandLine> bytes{};
  ssize_t n = read(fd->get(), bytes.data(), bytes.size());
  if (n <= 0 || static_cast<size_t>(n) > text_left) return;
  text_left -= static_cast<size_t>(n);
  std::string_view rest(bytes.data(), static_cast<size_t>(n));
  while (!rest.empty() && port.argv.size() < kMaxArguments) {
    size_t end = std::min(rest.find('\0'), rest.size());
    port.argv.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

// Looks for owners of sockets in one process. A socket that several have is the first one's.
void SearchProcess(uint32_t pid, size_t& text_left, Inodes& wanted, protocol::Ports& ports) {
  std::string process = "/proc/" + std::to_string(pid);
  Dir dir(opendir((process + "/fd").c_str()));
  if (!dir) return;
  while (const dirent* entry = readdir(dir.get())) {
    std::optional<uint64_t> inode = SocketInode(dirfd(dir.get()), entry->d_name);
    if (!inode) continue;
    auto found = wanted.find(*inode);
    if (found == wanted.end()) continue;
    Describe(process, pid, text_left, ports.ports.at(found->second));
    wanted.erase(found);
    if (wanted.empty()) return;
  }
}

void FindOwners(Inodes& wanted, protocol::Ports& ports) {
  auto end = std::chrono::steady_clock::now() + kSearchLimit;
  size_t text_left = kMaxText;
  std::vector<uint32_t> pids;
  Dir proc(opendir("/proc"));
  while (proc) {
    const dirent* entry = readdir(proc.get());
    if (entry == nullptr) break;
    if (auto pid = Number<uint32_t>(entry->d_name, 10)) pids.push_back(*pid);
  }
  for (uint32_t pid : pids) {
    if (wanted.empty() || std::chrono::steady_clock::now() > end) return;
    SearchProcess(pid, text_left, wanted, ports);
  }
}

}  // namespace

// "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ..."
std::optional<ListenerLine> ParseListener(std::string_view line) {
  std::vector<std::string_view> words = Words(line);
  if (words.size() < 10 || words[3] != kListen) return std::nullopt;
  size_t colon = words[1].find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::optional<std::string> address = Address(words[1].substr(0, colon));
  auto port = Number<uint16_t>(words[1].substr(colon + 1), 16);
  auto inode = Number<uint64_t>(words[9], 10);
  if (!address || !port || !inode) return std::nullopt;
  return ListenerLine{.address = *std::move(address), .port = *port, .inode = *inode};
}

Result<protocol::Ports> ListeningPorts() {
  protocol::Ports ports;
  Inodes wanted;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    bool whole = EachLine(table, [&](std::string_view line) {
      std::optional<ListenerLine> listener = ParseListener(line);
      if (!listener) return;
      if (ports.ports.size() == kMaxPorts) {
        ports.complete = false;
        return;
      }
      wanted.emplace(listener->inode, ports.ports.size());
      ports.ports.push_back({.address = std::move(listener->address), .port = listener->port});
    });
    if (!whole) ports.complete = false;
  }
  FindOwners(wanted, ports);
  return ports;
}

}  // namespace atl::agent
