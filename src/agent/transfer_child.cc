// SPDX-License-Identifier: Apache-2.0
#include "agent/transfer_child.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <memory>
#include <new>

namespace atl::agent {
namespace {

constexpr rlim_t kMemoryBytes = 512U << 20U;
// The connection's thread, whose stack the child inherits, has a small one.
constexpr size_t kStackBytes = 4U << 20U;
constexpr int kSocketBytes = 1 << 20;
constexpr int kClientSocket = 3;

// Memory that child and agent share.
class SharedFlag {
  using Flag = std::atomic<bool>;

 public:
  static Result<SharedFlag> Make() {
    void* page =
        mmap(nullptr, sizeof(Flag), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return FailErrno(errno, "map shared memory");
    return SharedFlag(new (page) Flag(false));
  }
  Flag* get() const { return flag_.get(); }

 private:
  struct Unmap {
    void operator()(Flag* flag) const { munmap(flag, sizeof(Flag)); }
  };
  explicit SharedFlag(Flag* flag) : flag_(flag) {}
  std::unique_ptr<Flag, Unmap> flag_;
};

struct Run {
  ClientLink* link = nullptr;
  const std::function<Result<void>(ClientLink* link)>* body = nullptr;
};
// Of the child alone, which has one thread.
Run* child_run = nullptr;

// An allocation that fails is found at any place; what the client hears of it needs little.
Result<void> RunBody() {
  try {
    return (*child_run->body)(child_run->link);
  } catch (const std::bad_alloc&) {
    return Fail(Code::kResourceExhausted, "the transfer needs more memory than it may have");
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("the transfer failed: ") + error.what());
  }
}

// On the child's own stack. Exit code 0: the client knows how it ended, or is gone.
[[noreturn]] void ChildMain() {
  try {
    Result<void> done = RunBody();
    if (!done && child_run->link->within_frame()) _exit(0);  // the client is gone
    if (!done) (void)child_run->link->Send(protocol::ToFailure(done.error()));
    _exit(0);
  } catch (const std::exception&) {
    _exit(1);
  }
}

void LimitChild(int socket) {
  // The agent's thread waits for the child: when it ends before, nobody does.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "atoll-transfer");
  // Listener, cgroup files and the connections of others are not the child's.
  if (dup2(socket, kClientSocket) < 0) _exit(1);
  syscall(SYS_close_range, kClientSocket + 1U, ~0U, 0U);
  rlimit memory{.rlim_cur = kMemoryBytes, .rlim_max = kMemoryBytes};
  setrlimit(RLIMIT_DATA, &memory);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;  // one per level of a tree
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

[[noreturn]] void BecomeChild(int socket, protocol::FrameParser* parser,
                              std::atomic<bool>* within_frame,
                              const std::function<Result<void>(ClientLink* link)>& body) {
  LimitChild(socket);
  ClientLink link(kClientSocket, parser, within_frame);
  Run run{.link = &link, .body = &body};
  child_run = &run;
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  ucontext_t context{};
  if (stack == MAP_FAILED || getcontext(&context) != 0) _exit(1);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStackBytes;
  makecontext(&context, ChildMain, 0);
  setcontext(&context);
  _exit(1);
}

}  // namespace

Result<void> RunTransfer(int socket, protocol::FrameParser* parser, Processes* processes,
                         WhenClientLeaves when_client_leaves,
                         const std::function<Result<void>(ClientLink* link)>& body) {
  // As much as the system allows: the kernel cuts it down by itself.
  setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof(kSocketBytes));
  ASSIGN(SharedFlag within_frame, SharedFlag::Make());
  ASSIGN(auto child,
         processes->Fork([&] { BecomeChild(socket, parser, within_frame.get(), body); }));
  bool watch = when_client_leaves == WhenClientLeaves::kKill;
  while (true) {
    std::array<pollfd, 2> fds{{
        {.fd = child->exited_fd(), .events = POLLIN, .revents = 0},
        // Only the hang-up: what the client sends is the child's.
        {.fd = watch ? socket : -1, .events = 0, .revents = 0},
    }};
    poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0) break;
    if (fds[1].revents == 0) continue;
    (void)processes->Signal(*child, SIGKILL, false);
    watch = false;
  }
  auto status = processes->Status(*child);
  bool finished = status && status->signal == 0 && status->exit_code == 0;
  if (finished || within_frame.get()->load()) return {};
  return Fail(Code::kResourceExhausted,
              "the transfer ended early (the sandbox may be out of memory)");
}

}  // namespace atl::agent
