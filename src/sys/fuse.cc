// SPDX-License-Identifier: Apache-2.0
#include "sys/fuse.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

namespace atl::sys {
namespace {

Result<void> Set(int context, const char* key, const std::string& value) {
  if (::fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0) return {};
  return FailErrno(errno, fmt::format("make a FUSE file system with {}={}", key, value));
}

Result<void> SetFlag(int context, const char* key) {
  if (::fsconfig(context, FSCONFIG_SET_FLAG, key, nullptr, 0) == 0) return {};
  return FailErrno(errno, fmt::format("make a FUSE file system with {}", key));
}

// Shared with a thread that may wait longer than anybody waits for it.
struct Answer {
  std::mutex mutex;
  std::condition_variable come;
  std::optional<int> error;
};

}  // namespace

Result<FuseFileSystem> MakeFuse(const std::string& source, uint32_t server_uid, bool read_only) {
  FuseFileSystem made;
  ASSIGN(made.device, Open("/dev/fuse", O_RDWR));
  Fd context(::fsopen("fuse", FSOPEN_CLOEXEC));
  if (!context) return FailErrno(errno, "make a FUSE file system");
  TRY(Set(context.get(), "source", source));
  TRY(Set(context.get(), "fd", fmt::format("{}", made.device.get())));
  TRY(Set(context.get(), "rootmode", "40000"));
  TRY(Set(context.get(), "user_id", fmt::format("{}", server_uid)));
  TRY(Set(context.get(), "group_id", fmt::format("{}", server_uid)));
  TRY(SetFlag(context.get(), "default_permissions"));
  TRY(SetFlag(context.get(), "allow_other"));
  if (read_only) TRY(SetFlag(context.get(), "ro"));
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    return FailErrno(errno, "make a FUSE file system");
  }
  unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (read_only) attributes |= MOUNT_ATTR_RDONLY;
  made.mount = Fd(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
  if (!made.mount) return FailErrno(errno, "mount a FUSE file system");
  return made;
}

Result<void> AwaitServed(int mount, std::chrono::milliseconds limit,
                         const std::function<bool()>& give_up,
                         const std::function<void()>& end_server) {
  constexpr std::chrono::milliseconds kLook{50};
  constexpr std::chrono::milliseconds kEnding{2'000};
  Fd copy(::fcntl(mount, F_DUPFD_CLOEXEC, 3));
  if (!copy) return FailErrno(errno, "wait for a FUSE file system");
  auto answer = std::make_shared<Answer>();
  try {
    std::thread([answer, copy = std::move(copy)] {
      struct statx info{};
      int flags = AT_EMPTY_PATH | AT_STATX_FORCE_SYNC;
      int error = ::statx(copy.get(), "", flags, STATX_MODE, &info) == 0 ? 0 : errno;
      std::lock_guard guard(answer->mutex);
      answer->error = error;
      answer->come.notify_all();
    }).detach();
  } catch (const std::system_error& failure) {
    return Fail(Code::kResourceExhausted, fmt::format("starting a thread: {}", failure.what()));
  }
  auto deadline = std::chrono::steady_clock::now() + limit;
  std::unique_lock lock(answer->mutex);
  auto has_come = [&] { return answer->error.has_value(); };
  while (!answer->come.wait_for(lock, kLook, has_come)) {
    bool late = std::chrono::steady_clock::now() > deadline;
    lock.unlock();
    bool given_up = give_up();
    if (late || given_up) {
      end_server();
      lock.lock();
      answer->come.wait_for(lock, kEnding, has_come);
      if (given_up) return Fail(Code::kCancelled, "nobody wants the file system any more");
      return Fail(Code::kTimeout, fmt::format("nothing has answered for {} ms", limit.count()));
    }
    lock.lock();
  }
  if (*answer->error == 0) return {};
  return FailErrno(*answer->error, "use the file system");
}

}  // namespace atl::sys
