// SPDX-License-Identifier: Apache-2.0
#include "oci/rootfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "sys/fd.h"
#include "sys/idmap.h"
#include "sys/overlay.h"

namespace atl::oci {
namespace {

using Clock = std::chrono::steady_clock;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// A directory that belongs to the sandbox's root user.
Result<void> MakeOwned(const std::string& path, uint32_t owner) {
  if (::mkdir(path.c_str(), 0755) < 0) {
    if (errno == EEXIST) return {};
    return FailErrno(errno, fmt::format("making {}", path));
  }
  if (::chown(path.c_str(), owner, owner) < 0) {
    return FailErrno(errno, fmt::format("giving {} to id {}", path, owner));
  }
  return {};
}

// An overlay makes some files when it is mounted. They are kept back from whoever fills the layer:
// one that is full could not be started again.
constexpr int kSpares = 16;

std::string SparesOf(const std::string& layer) { return layer + "/spare"; }

void KeepSpares(const std::string& layer) {
  std::string dir = SparesOf(layer);
  if (::mkdir(dir.c_str(), 0700) < 0 && errno != EEXIST) return;
  for (int i = 0; i < kSpares; ++i) {
    // As many as there is room for.
    if (!sys::Open(fmt::format("{}/{}", dir, i), O_WRONLY | O_CREAT, 0600)) return;
  }
}

}  // namespace

Result<sys::Mount> MountRootfs(const RootfsSpec& spec, RootfsTimes* times) {
  auto start = Clock::now();
  struct stat info{};
  if (::stat(spec.image_rootfs.c_str(), &info) < 0 || !S_ISDIR(info.st_mode)) {
    return Fail(Code::kNotFound, fmt::format("no image at {}", spec.image_rootfs),
                "IMAGE_NOT_FOUND");
  }
  // Nobody but root looks into a layer from outside: it may hold setuid files of the sandbox.
  TRY(sys::MakeDirs(spec.layer, 0700));
  TRY(sys::MakeDirs(spec.target, 0755));
  std::string upper = spec.layer + "/upper";
  std::string work = spec.layer + "/work";
  if (spec.bounded) TRY(sys::RemoveTree(SparesOf(spec.layer)));
  TRY(MakeOwned(upper, spec.id_base));
  TRY(MakeOwned(work, spec.id_base));

  ASSIGN(sys::Fd view, sys::CloneIdmapped(spec.image_rootfs, spec.user_namespace));
  if (times != nullptr) times->idmap_ms = MsSince(start);

  start = Clock::now();
  sys::OverlaySpec layers{
      .lower = spec.image_rootfs, .upper = upper, .work = work, .user = spec.id_base};
  ASSIGN(sys::Fd overlay, sys::MakeOverlay(view.get(), layers, spec.target));
  TRY(sys::AttachMount(overlay.get(), spec.target));
  if (spec.bounded) KeepSpares(spec.layer);
  if (times != nullptr) times->overlay_ms = MsSince(start);
  return sys::Mount(spec.target);
}

}  // namespace atl::oci
