// SPDX-License-Identifier: Apache-2.0
#include "agent/serve.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <memory>

#include "agent/connection.h"
#include "agent/listener.h"
#include "agent/settle.h"
#include "agent/setup.h"
#include "agent/thread.h"
#include "protocol/connection.h"

namespace atl::agent {
namespace {

constexpr int kMaxConnections = 512;
constexpr int kSettleLimitMs = 5'000;

void LimitMemory() {
  // One heap, and large buffers are given back when they are freed.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
}

// So that 0, 1 and 2 are never something else.
void OccupyStdio() {
  int fd = 0;
  do {
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  } while (fd >= 0 && fd < 2);
  if (fd > 2) close(fd);
}

std::string RandomId() {
  std::array<unsigned char, 16> bytes{};
  (void)!getrandom(bytes.data(), bytes.size(), 0);
  std::string id;
  for (unsigned char byte : bytes) {
    id += "0123456789abcdef"[byte >> 4U];
    id += "0123456789abcdef"[byte & 15U];
  }
  return id;
}

std::vector<sys::Fd> Adopt(int first, int count) {
  std::vector<sys::Fd> fds;
  for (int fd = first; fd < first + count; ++fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fds.emplace_back(fd);
  }
  return fds;
}

// A sandbox may have been stopped in the middle of a restore: before its programs look, what it was
// made to is whole. In a process of its own, which counts as the sandbox's work.
void SettleDirs(Processes* processes) {
  std::vector<std::string> dirs = DirsToSettle();
  auto null = sys::Open("/dev/null", O_RDWR);
  if (dirs.empty() || !null) return;
  Program program{.argv = {"atoll-agent", "settle"}, .cwd = "/", .self = true};
  program.argv.insert(program.argv.end(), dirs.begin(), dirs.end());
  auto child =
      processes->Start(program, {.in = null->get(), .out = null->get(), .err = null->get()});
  if (!child) return;
  pollfd exited{.fd = (*child)->exited_fd(), .events = POLLIN, .revents = 0};
  poll(&exited, 1, kSettleLimitMs);
}

// The cgroup.procs files of the `agent` leaf. A move between cgroups takes milliseconds, and nobody
// waits for it.
using LeafFiles = std::shared_ptr<const std::vector<sys::Fd>>;

Result<void> MoveToOwnLeaf(Agent* agent, LeafFiles files) {
  agent->in_own_leaf = false;
  return StartThread([agent, files = std::move(files)] {
    for (const sys::Fd& file : *files) (void)!write(file.get(), "0", 1);
    agent->in_own_leaf = true;
    agent->in_own_leaf.notify_all();
  });
}

void AcceptForever(Listener* listener, Agent* agent) {
  std::atomic<int> connections = 0;
  auto revived = [agent] { (void)agent->begin_anew(); };
  while (auto client = listener->Accept(revived)) {
    if (connections.fetch_add(1) >= kMaxConnections) {
      --connections;
      Error busy{.code = Code::kResourceExhausted, .message = "too many operations are running"};
      (void)Greet(agent, client->get());
      (void)protocol::Send(client->get(), protocol::ToFailure(busy));
      continue;
    }
    auto owned = std::make_shared<sys::Fd>(std::move(*client));
    auto started = StartThread([agent, owned, &connections] {
      struct Leave {
        std::atomic<int>* count;
        ~Leave() { --*count; }
      } leave{&connections};
      ServeConnection(agent, std::move(*owned));
    });
    if (!started) {
      --connections;
      (void)protocol::Send(owned->get(), protocol::ToFailure(started.error()));
    }
  }
}

}  // namespace

Result<void> Serve(const ServeOptions& options) {
  // Before anything else runs: programs of the same user must not be able to open our memory or
  // descriptors.
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return FailErrno(errno, "become non-dumpable");
  LimitMemory();
  OccupyStdio();
  signal(SIGPIPE, SIG_IGN);
  if (getpid() != 1) prctl(PR_SET_CHILD_SUBREAPER, 1);
  fcntl(options.listen_fd, F_SETFD, FD_CLOEXEC);
  Listener listener{sys::Fd(options.listen_fd)};
  auto leaf = std::make_shared<const std::vector<sys::Fd>>(
      Adopt(options.listen_fd + 1, options.cgroup_fds));
  Spawner spawner(Adopt(options.listen_fd + 1 + options.cgroup_fds, options.cgroup_fds));
  TRY(spawner.Start());

  Processes processes(&spawner);
  DetachedProcesses detached(&processes);
  ProcessTable table(&processes, options.log_dir);
  SessionTable sessions(&processes);
  Terminals terminals(&processes);
  KeptWatches watches(&processes);
  Agent agent{.hello = {.dial_mode = options.dial_mode,
                        .pid = static_cast<uint32_t>(getpid()),
                        .boot_id = RandomId()},
              .listener = &listener,
              .processes = &processes,
              .detached = &detached,
              .table = &table,
              .sessions = &sessions,
              .terminals = &terminals,
              .watches = &watches};
  TRY(StartThread([&processes] { processes.ReapForever(); }));
  if (getpid() == 1) {
    PrepareFileSystem();
    SettleDirs(&processes);
  }
  // A copy of a checkpoint is another agent, in another sandbox's cgroup.
  agent.begin_anew = [&agent, &leaf] {
    {
      std::lock_guard guard(agent.hello_mutex);
      agent.hello.boot_id = RandomId();
    }
    return MoveToOwnLeaf(&agent, leaf);
  };
  TRY(MoveToOwnLeaf(&agent, leaf));
  AcceptForever(&listener, &agent);
  return Fail(Code::kInternal, "the listening socket is not usable");
}

}  // namespace atl::agent
