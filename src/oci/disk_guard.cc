// SPDX-License-Identifier: Apache-2.0
#include "oci/disk_guard.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "sys/ext4.h"
#include "sys/loop.h"

namespace atl::oci {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMiB = 1ULL << 20U;
constexpr uint64_t kReserve = 1024 * kMiB;
constexpr uint64_t kReserveShare = 20;
constexpr uint64_t kStatBlock = 512;
constexpr uint64_t kBlock = 4096;  // of every image
// Of room that is short, for who is mounted before the next look.
constexpr uint64_t kSpareShare = 8;
// With less than this a sandbox cannot be started to be cleared up.
constexpr uint64_t kStart = 4 * kMiB;
// What ext4 keeps for its own metadata where nobody says otherwise.
constexpr uint64_t kOwnClusters = 4096;
constexpr uint64_t kOwnShare = 50;
// More than the host stores in a millisecond.
constexpr uint64_t kFastest = 2 * kMiB;
constexpr milliseconds kShortestPause{100};
constexpr milliseconds kLongestPause{2'000};
constexpr milliseconds kSoonest{50};

uint64_t Less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

}  // namespace

uint64_t DiskReserve(uint64_t disk_total) { return std::min(kReserve, disk_total / kReserveShare); }

Division DivideRoom(uint64_t room, const std::vector<uint64_t>& wants) {
  Division division{.grants = wants};
  uint64_t sum = std::accumulate(wants.begin(), wants.end(), uint64_t{0});
  if (sum <= room) {
    division.spare = room - sum;
    return division;
  }
  division.satisfied = false;
  division.spare = room / kSpareShare;
  uint64_t left = room - division.spare;
  std::vector<size_t> by_want(wants.size());
  std::iota(by_want.begin(), by_want.end(), size_t{0});
  std::ranges::sort(by_want, {}, [&](size_t i) { return wants[i]; });
  for (size_t done = 0; done < by_want.size(); ++done) {
    uint64_t& grant = division.grants[by_want[done]];
    grant = std::min(grant, left / (by_want.size() - done));
    left -= grant;
  }
  division.spare += left;
  return division;
}

DiskGuard::DiskGuard(std::string parent, std::optional<uint64_t> reserve)
    : parent_(std::move(parent)), reserve_(reserve) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

DiskGuard::~DiskGuard() = default;

std::string DiskGuard::FileOf(const std::string& iid) const {
  return fmt::format("{}/{}/disk.img", parent_, iid);
}

DiskGuard::Measured DiskGuard::Measure(const std::string& iid, std::string device) const {
  Measured measured{.iid = iid, .device = std::move(device)};
  struct stat file{};
  auto super = sys::ReadExt4Super(FileOf(iid));
  if (::stat(FileOf(iid).c_str(), &file) != 0 || !super) return measured;
  auto size = static_cast<uint64_t>(file.st_size);
  uint64_t stored = static_cast<uint64_t>(file.st_blocks) * kStatBlock;

  struct statfs inside{};
  bool seen = false;
  auto found = images_.find(iid);
  if (found != images_.end()) {
    const Image& image = found->second;
    std::string root = fmt::format("/proc/{}/root", image.pid);
    seen = image.pid > 1 && ::statfs(root.c_str(), &inside) == 0;
    struct stat place{};
    if (!seen && ::stat(image.place.c_str(), &place) == 0 && place.st_dev == image.device) {
      seen = ::statfs(image.place.c_str(), &inside) == 0;
    }
  }
  // What is called so may be something else by now.
  uint64_t block = seen ? static_cast<uint64_t>(inside.f_bsize) : kBlock;
  if (seen) seen = block == kBlock && inside.f_blocks * block <= size;
  if (!seen) {
    // It is one that nobody has adopted yet: it may give out what it was told before.
    uint64_t withheld = sys::WithheldClusters(measured.device).value_or(0) * kBlock;
    measured.owed = Less(size, stored + withheld);
    return measured;
  }
  measured.complete = true;
  measured.block = block;
  measured.free = inside.f_bfree * block;
  uint64_t own = std::min(kOwnClusters, size / block / kOwnShare);
  measured.usable = Less(measured.free, own * block);
  // The journal is a hole until it is first written through, and has to go on by all means.
  uint64_t used = (inside.f_blocks - inside.f_bfree) * block + super->journal_bytes;
  measured.owed = Less(used, stored);
  return measured;
}

void DiskGuard::Grant(const Measured& image, uint64_t bytes) {
  uint64_t withheld = (Less(image.free, bytes) + image.block - 1) / image.block;
  auto before = sys::WithheldClusters(image.device);
  if (before && *before == withheld) return;
  Result<void> done = sys::WithholdClusters(image.device, withheld);
  // One that has just been unmounted has no such file any more.
  if (done || done.error().code == Code::kNotFound) return;
  static std::atomic<bool> told = false;
  if (told.exchange(true)) return;
  log::Error("nothing keeps sandboxes from taking more than the disk can store: {}",
             done.error().message);
}

std::vector<DiskGuard::Measured> DiskGuard::MeasureAll() {
  std::vector<Measured> all;
  for (const sys::LoopInUse& loop : sys::ListLoopFiles()) {
    std::string_view file = loop.file;
    if (!file.starts_with(parent_ + "/") || !file.ends_with("/disk.img")) continue;
    file.remove_prefix(parent_.size() + 1);
    std::string iid(file.substr(0, file.find('/')));
    if (loop.file != FileOf(iid)) continue;
    all.push_back(Measure(iid, loop.path.substr(std::string_view("/dev/").size())));
  }
  return all;
}

void DiskGuard::Round() {
  struct statvfs host{};
  if (::statvfs(parent_.c_str(), &host) != 0) return;
  std::vector<Measured> all = MeasureAll();
  uint64_t reserve = reserve_.value_or(0);
  if (reserve == 0) reserve = DiskReserve(host.f_blocks * host.f_frsize);
  std::vector<uint64_t> wants;
  uint64_t owed = 0;
  for (const Measured& image : all) {
    wants.push_back(image.usable);
    owed += image.owed;
  }
  uint64_t room = Less(host.f_bavail * host.f_frsize, reserve + owed);
  Division division = DivideRoom(room, wants);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].complete) continue;
    Grant(all[i], division.grants[i]);
    auto found = images_.find(all[i].iid);
    if (found != images_.end()) found->second.granted = division.grants[i];
  }
  bool tight = !division.satisfied;
  if (tight != tight_) {
    log::Write(tight ? log::Level::kWarning : log::Level::kInfo,
               tight ? "the disk has less room than its sandboxes may use: each gets a part of it"
                     : "the disk has room again for all that its sandboxes may use");
  }
  tight_ = tight;
  owed_ = owed;
  spare_ = division.spare;
  looked_ = true;
  // Nobody can use up a grant that is smaller than it could be, or what is free beyond all of them
  // and half of the reserve, before the next look.
  uint64_t ahead = (tight ? 0 : division.spare) + reserve / 2;
  if (tight) ahead = std::min(ahead, *std::ranges::max_element(division.grants) / 2);
  pause_ = all.empty() ? kLongestPause
                       : std::clamp(milliseconds(ahead / kFastest), kShortestPause, kLongestPause);
}

void DiskGuard::Run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    look_soon_ = false;
    if (!rests_) Round();
    wake_.wait_for(lock, stop, pause_, [this] { return look_soon_; });
    // Many that begin at once are one look.
    if (look_soon_) wake_.wait_for(lock, stop, kSoonest, [] { return false; });
  }
}

void DiskGuard::Mounted(const std::string& iid, const std::string& place) {
  auto device = sys::DeviceOf(place);
  struct stat info{};
  if (!device || ::stat(place.c_str(), &info) != 0) return;
  std::lock_guard lock(mutex_);
  if (rests_) return;
  if (!looked_) Round();
  Image& image = images_[iid];
  image.place = place;
  image.device = info.st_dev;
  Measured measured = Measure(iid, *std::move(device));
  if (!measured.complete) return;
  uint64_t grant = std::min(measured.usable, std::max({image.granted, spare_ / 2, kStart}));
  Grant(measured, grant);
  image.granted = grant;
  spare_ = Less(spare_, grant);
  look_soon_ = true;
  wake_.notify_all();
}

void DiskGuard::Runs(const std::string& iid, pid_t pid) {
  struct stat file{};
  if (::stat(FileOf(iid).c_str(), &file) != 0) return;
  std::lock_guard lock(mutex_);
  images_[iid].pid = pid;
  look_soon_ = true;
  wake_.notify_all();
}

void DiskGuard::Ends(const std::string& iid) {
  std::lock_guard lock(mutex_);
  images_.erase(iid);
}

void DiskGuard::Rest(bool rests) {
  std::lock_guard lock(mutex_);
  rests_ = rests;
}

}  // namespace atl::oci
