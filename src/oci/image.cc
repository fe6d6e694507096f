// SPDX-License-Identifier: Apache-2.0
#include "oci/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "sys/fd.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

namespace json = boost::json;

constexpr std::chrono::minutes kBuildTime{60};

// Directories `.<name>.<random>.tmp` are images on their way in or out. Whoever works on one holds
// a lock on the directory itself, which needs no file inside and ends with the last process that
// has it. They get that name, and are judged by that lock, only under the guard: `.lock` of the
// store.
Result<sys::Fd> Lock(sys::Fd file, const std::string& path, int operation) {
  while (::flock(file.get(), operation) < 0) {
    if (errno != EINTR) return FailErrno(errno, fmt::format("locking {}", path));
  }
  return file;
}

Result<sys::Fd> Guard(const std::string& path) {
  ASSIGN(sys::Fd file, sys::Open(path, O_RDWR | O_CREAT, 0600));
  return Lock(std::move(file), path, LOCK_EX);
}

Result<sys::Fd> Hold(const std::string& directory) {
  ASSIGN(sys::Fd file, sys::Open(directory, O_RDONLY | O_DIRECTORY));
  return Lock(std::move(file), directory, LOCK_EX | LOCK_NB);
}

std::string RandomName() {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    number = static_cast<uint64_t>(::getpid());
  }
  return fmt::format("{:016x}", number);
}

Result<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) {
    if (errno == ENOENT) return names;
    return FailErrno(errno, fmt::format("listing {}", path));
  }
  while (const dirent* entry = ::readdir(directory)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  std::ranges::sort(names);
  return names;
}

// What the tree holds; hard links count once.
void Measure(const std::string& rootfs, Image& image) {
  std::error_code failure;
  auto options = std::filesystem::directory_options::skip_permission_denied;
  std::filesystem::recursive_directory_iterator it(rootfs, options, failure);
  for (; !failure && it != std::filesystem::recursive_directory_iterator(); it.increment(failure)) {
    struct stat info{};
    if (::lstat(it->path().c_str(), &info) < 0) continue;
    ++image.files;
    uint64_t bytes = static_cast<uint64_t>(info.st_blocks) * 512;
    image.bytes += S_ISREG(info.st_mode) && info.st_nlink > 1 ? bytes / info.st_nlink : bytes;
  }
}

uint64_t NumberOf(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() && value->get_int64() > 0
             ? static_cast<uint64_t>(value->get_int64())
             : 0;
}

// An image without metadata is one all the same: somebody put a root there by hand.
Image ReadImage(const std::string& dir, const std::string& name) {
  Image image{.name = name, .rootfs = fmt::format("{}/{}/rootfs", dir, name)};
  auto text = sys::ReadFile(fmt::format("{}/{}/image.json", dir, name), 65536);
  if (!text) return image;
  boost::system::error_code failure;
  json::value value = json::parse(*text, failure);
  if (failure || !value.is_object()) return image;
  const json::object& object = value.get_object();
  if (const json::value* created = object.if_contains("created");
      created != nullptr && created->is_string()) {
    image.created = std::string(created->get_string());
  }
  image.bytes = NumberOf(object, "bytes");
  image.files = NumberOf(object, "files");
  return image;
}

// The script has pid and mount namespaces of its own and ends with this thread, by whatever death:
// then the kernel ends every process of the build and drops every mount. Without privilege it runs
// as it is. It has the lock too, so that nobody clears away what a last process still writes to.
Result<void> RunRecipe(const std::string& recipe_dir, const std::string& rootfs, int lock,
                       int output_fd) {
  std::string script = recipe_dir + "/build.sh";
  sys::Command command{.argv = {},
                       .inherit = {lock},
                       .stdout_fd = output_fd,
                       .stderr_fd = output_fd,
                       .timeout = kBuildTime};
  if (::geteuid() == 0) {
    command.argv = {"setpriv",     "--pdeathsig",   "KILL",    "unshare", "--mount",
                    "--pid",       "--propagation", "private", "--fork",  "--kill-child=KILL",
                    "--mount-proc"};
  }
  command.argv.push_back(script);
  command.argv.push_back(rootfs);
  ASSIGN(sys::Finished finished, sys::Run(command));
  if (finished.exit_code == 0) return {};
  return Fail(Code::kInternal,
              fmt::format("{} ended with code {}{}{}", script, finished.exit_code,
                          finished.err.empty() ? "" : ": ", finished.err),
              "IMAGE_BUILD_FAILED");
}

// Gives the finished image its name; `temporary` holds the one that had it, if any.
Result<void> GiveName(const std::string& temporary, const std::string& final_path, bool replace) {
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_NOREPLACE) ==
      0) {
    return {};
  }
  int err = errno;
  if (err != EEXIST || !replace) return FailErrno(err, fmt::format("naming {}", final_path));
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) < 0) {
    return FailErrno(errno, fmt::format("replacing {}", final_path));
  }
  return {};
}

}  // namespace

bool IsImageName(std::string_view name) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr std::string_view kAll = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 64 && kFirst.contains(name[0]) &&
         name.find_first_not_of(kAll) == std::string_view::npos;
}

Result<Image> ImageStore::Build(const std::string& name, const std::string& recipe_dir,
                                int output_fd, bool replace,
                                const std::function<Result<void>()>& may_replace) const {
  if (!IsImageName(name)) {
    return Fail(Code::kInvalidArgument, fmt::format("'{}' cannot name an image", name));
  }
  std::string final_path = fmt::format("{}/{}", dir_, name);
  if (!replace && ::access(final_path.c_str(), F_OK) == 0) {
    return Fail(Code::kAlreadyExists, fmt::format("the image {} exists already", name));
  }
  TRY(sys::MakeDirs(dir_));
  TRY(RemoveStale());
  std::string temporary = TemporaryFor(name);
  sys::Fd lock;
  {
    ASSIGN(sys::Fd guard, Guard(GuardPath()));
    TRY(sys::MakeDirs(temporary, 0755));
    ASSIGN(lock, Hold(temporary));
  }
  sys::Fd replaced;  // holds the former image while it is removed
  std::string rootfs = temporary + "/rootfs";
  auto finish = [&]() -> Result<Image> {
    TRY(RunRecipe(recipe_dir, rootfs, lock.get(), output_fd));
    Image image{.name = name, .rootfs = final_path + "/rootfs"};
    Measure(rootfs, image);
    if (image.files == 0) return Fail(Code::kInternal, "the recipe left an empty root");
    image.created = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
    json::object metadata{
        {"name", name}, {"created", image.created}, {"bytes", image.bytes}, {"files", image.files}};
    TRY(sys::WriteFile(temporary + "/image.json", json::serialize(metadata) + "\n"));
    // After a crash of the host an image that has its name must be whole.
    if (::syncfs(lock.get()) < 0) return FailErrno(errno, "writing the image to disk");
    ASSIGN(sys::Fd guard, Guard(GuardPath()));
    if (replace && ::access(final_path.c_str(), F_OK) == 0) {
      if (may_replace) TRY(may_replace());
      ASSIGN(replaced, Hold(final_path));
    }
    TRY(GiveName(temporary, final_path, replace));
    return image;
  };
  auto image = finish();
  auto removed = sys::RemoveTree(temporary);
  if (image && !removed) return Unexpected(std::move(removed).error());
  return image;
}

Result<std::vector<Image>> ImageStore::List() const {
  ASSIGN(auto names, ListDirectory(dir_));
  std::vector<Image> images;
  for (const std::string& name : names) {
    if (!IsImageName(name)) continue;
    auto image = Find(name);
    if (image) images.push_back(*std::move(image));
  }
  return images;
}

Result<Image> ImageStore::Find(const std::string& name) const {
  std::string rootfs = fmt::format("{}/{}/rootfs", dir_, name);
  if (!IsImageName(name) || ::access(rootfs.c_str(), X_OK) < 0) {
    return Fail(Code::kNotFound, fmt::format("there is no image named '{}'", name),
                "IMAGE_NOT_FOUND");
  }
  return ReadImage(dir_, name);
}

Result<void> ImageStore::Remove(const std::string& name) const {
  TRY(Find(name));
  // Away with the name first: what is half removed must not look like an image.
  std::string temporary = TemporaryFor(name);
  sys::Fd lock;
  {
    ASSIGN(sys::Fd guard, Guard(GuardPath()));
    ASSIGN(lock, Hold(fmt::format("{}/{}", dir_, name)));
    if (::rename(fmt::format("{}/{}", dir_, name).c_str(), temporary.c_str()) < 0) {
      return FailErrno(errno, fmt::format("removing the image {}", name));
    }
  }
  return sys::RemoveTree(temporary);
}

std::string ImageStore::TemporaryFor(const std::string& name) const {
  return fmt::format("{}/.{}.{}.tmp", dir_, name, RandomName());
}

Result<std::vector<std::string>> ImageStore::StaleGuarded() const {
  ASSIGN(auto names, ListDirectory(dir_));
  std::vector<std::string> stale;
  for (const std::string& name : names) {
    if (!name.starts_with('.') || !name.ends_with(".tmp")) continue;
    std::string path = fmt::format("{}/{}", dir_, name);
    auto file = sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!file && file.error().sys_errno == ENOENT) continue;  // its owner removed it just now
    if (file && ::flock(file->get(), LOCK_EX | LOCK_NB) < 0) continue;
    stale.push_back(path);
  }
  return stale;
}

Result<std::vector<std::string>> ImageStore::Stale() const {
  // Looking makes nothing: where there is no guard, nothing was ever built.
  auto file = sys::Open(GuardPath(), O_RDONLY);
  if (!file) return StaleGuarded();
  ASSIGN(sys::Fd guard, Lock(*std::move(file), GuardPath(), LOCK_EX));
  return StaleGuarded();
}

Result<void> ImageStore::RemoveStale() const {
  if (::access(dir_.c_str(), F_OK) < 0) return {};
  ASSIGN(sys::Fd guard, Guard(GuardPath()));
  ASSIGN(auto stale, StaleGuarded());
  for (const std::string& path : stale) TRY(sys::RemoveTree(path));
  return {};
}

}  // namespace atl::oci
