// SPDX-License-Identifier: Apache-2.0
#include "sandbox/admission.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "oci/disk_guard.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

constexpr uint64_t kMiB = 1ULL << 20U;
constexpr uint64_t kMemoryReserve = 512 * kMiB;
constexpr uint64_t kReserveShare = 20;
// What one that starts is taken to need until it shows by itself.
constexpr uint64_t kStartMemory = 64 * kMiB;
// Of OpenCode, which begins after its sandbox does.
constexpr uint64_t kBootMemory = 300 * kMiB;
constexpr uint64_t kStartDisk = 16 * kMiB;
constexpr uint64_t kInodeReserve = 10'000;
constexpr size_t kMostWaiting = 1'000;
constexpr std::chrono::milliseconds kPoll{100};

uint64_t Kilobytes(std::string_view text, std::string_view name) {
  size_t at = text.find(name);
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + name.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value * 1024;
}

// "some avg10=1.23 avg60=..."
std::optional<double> Pressure(std::string_view text) {
  constexpr std::string_view kName = "some avg10=";
  if (!text.starts_with(kName)) return std::nullopt;
  text.remove_prefix(kName.size());
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

uint64_t MiB(uint64_t bytes) { return bytes / kMiB; }

Error Refused(std::string why) {
  return Error{.code = Code::kResourceExhausted,
               .message = "there is no room for one sandbox more: " + std::move(why),
               .reason = "CAPACITY_EXCEEDED"};
}

uint64_t ReserveOf(const AdmissionRules& rules, const HostState& host) {
  return rules.memory_reserve.value_or(std::min(kMemoryReserve, host.memory_total / kReserveShare));
}

uint64_t NeededMemory(const AdmissionRules& rules, const HostState& host, const Occupancy& load,
                      const RoomFor& demand) {
  uint64_t own =
      demand.memory_bytes == 0 ? kStartMemory : std::min(kStartMemory, demand.memory_bytes);
  return ReserveOf(rules, host) + own + load.starting * kStartMemory + load.booting * kBootMemory;
}

std::optional<Error> WhyNoMemory(const AdmissionRules& rules, const HostState& host,
                                 const Occupancy& load, const RoomFor& demand) {
  if (host.memory_total == 0) return std::nullopt;
  uint64_t needed = NeededMemory(rules, host, load, demand);
  if (!demand.has_memory && host.memory_available < needed) {
    return Refused(
        fmt::format("{} MiB of memory are available, {} MiB are needed (reserve {} MiB, "
                    "{} others are starting, OpenCode starts in {})",
                    MiB(host.memory_available), MiB(needed), MiB(ReserveOf(rules, host)),
                    load.starting, load.booting));
  }
  if (!demand.has_memory && rules.memory_pressure > 0 &&
      host.memory_pressure.value_or(0) > rules.memory_pressure) {
    return Refused(fmt::format("programs waited for memory for {:.0f} % of the last ten seconds",
                               *host.memory_pressure));
  }
  if (rules.overcommit > 0) {
    double most = rules.overcommit * static_cast<double>(host.memory_total);
    uint64_t promised = load.promised + demand.memory_bytes;
    if (static_cast<double>(promised) > most) {
      return Refused(
          fmt::format("{} MiB of memory would be promised, {} times the host's {} MiB "
                      "may be",
                      MiB(promised), rules.overcommit, MiB(host.memory_total)));
    }
  }
  return std::nullopt;
}

std::optional<Error> WhyNoDisk(const AdmissionRules& rules, const HostState& host,
                               const Occupancy& load, const RoomFor& demand) {
  if (rules.disk_overcommit > 0 && host.disk_total != 0 && demand.disk_bytes != 0) {
    double most = rules.disk_overcommit * static_cast<double>(host.disk_total);
    uint64_t promised = load.disk_promised + demand.disk_bytes;
    if (static_cast<double>(promised) > most) {
      return Refused(
          fmt::format("{} MiB of disk would be promised, {} times the host's {} MiB may be",
                      MiB(promised), rules.disk_overcommit, MiB(host.disk_total)));
    }
  }
  if (rules.disk_reserve == uint64_t{0}) return std::nullopt;
  if (host.disk_total != 0) {
    uint64_t reserve = rules.disk_reserve.value_or(oci::DiskReserve(host.disk_total));
    // An image may begin to take what is beyond the reserve, and no more.
    uint64_t own = demand.disk_bytes == 0 ? 0 : kStartDisk;
    if (host.disk_free < reserve + own) {
      return Refused(
          fmt::format("{} MiB are free where sandboxes are stored, {} MiB stay in "
                      "reserve",
                      MiB(host.disk_free), MiB(reserve)));
    }
  }
  // A file system without a fixed number of inodes counts none.
  if (host.inodes_total != 0 &&
      host.inodes_free < std::min(kInodeReserve, host.inodes_total / kReserveShare)) {
    return Refused(fmt::format("{} inodes are free where sandboxes are stored", host.inodes_free));
  }
  return std::nullopt;
}

}  // namespace

HostState ReadHostState(const std::string& state_dir, const std::string& proc) {
  HostState host;
  if (auto text = sys::ReadFile(proc + "/meminfo", 65536)) {
    host.memory_total = Kilobytes(*text, "MemTotal:");
    host.memory_available = Kilobytes(*text, "MemAvailable:");
  }
  // Where it is switched off reading fails.
  if (auto text = sys::ReadFile(proc + "/pressure/memory", 4096)) {
    host.memory_pressure = Pressure(*text);
  }
  struct statvfs disk{};
  if (::statvfs(state_dir.c_str(), &disk) == 0) {
    host.disk_total = disk.f_blocks * disk.f_frsize;
    host.disk_free = disk.f_bavail * disk.f_frsize;
    host.inodes_total = disk.f_files;
    host.inodes_free = disk.f_favail;
  }
  return host;
}

std::optional<Error> WhyNot(const AdmissionRules& rules, const HostState& host,
                            const Occupancy& load, const RoomFor& demand) {
  if (demand.adds) {
    if (rules.max_sandboxes != 0 && load.sandboxes >= rules.max_sandboxes) {
      return Refused(fmt::format("there are {}, and no more than {} may be", load.sandboxes,
                                 rules.max_sandboxes));
    }
    if (auto why = WhyNoDisk(rules, host, load, demand)) return why;
  }
  return WhyNoMemory(rules, host, load, demand);
}

uint64_t MissingMemory(const AdmissionRules& rules, const HostState& host, const Occupancy& load,
                       const RoomFor& demand) {
  if (host.memory_total == 0 || demand.has_memory) return 0;
  uint64_t needed = NeededMemory(rules, host, load, demand);
  if (host.memory_available >= needed) return 0;
  HostState better = host;
  better.memory_available = needed;
  return WhyNot(rules, better, load, demand) ? 0 : needed - host.memory_available;
}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    Release();
    admission_ = std::exchange(other.admission_, nullptr);
    id_ = std::move(other.id_);
  }
  return *this;
}

void Admission::Ticket::Release() {
  Admission* admission = std::exchange(admission_, nullptr);
  if (admission == nullptr) return;
  std::lock_guard guard(admission->mutex_);
  auto found = admission->starting_.find(id_);
  if (found != admission->starting_.end()) admission->starting_.erase(found);
}

class Admission::Place {
 public:
  Place(Admission& admission, uint64_t number) : admission_(admission), number_(number) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    std::lock_guard guard(admission_.mutex_);
    std::erase(admission_.queue_, number_);
  }
  bool IsFirst() const { return admission_.queue_.front() == number_; }  // with the mutex held

 private:
  Admission& admission_;
  uint64_t number_;
};

std::optional<Error> Admission::TryLocked(const RoomFor& demand) {
  std::set<std::string> starting(starting_.begin(), starting_.end());
  // Several calls for one sandbox are one start.
  bool counted = starting.contains(demand.id);
  if (!counted) {
    if (auto why = WhyNot(rules_, look_(), count_(starting), demand)) return why;
  }
  starting_.insert(demand.id);
  return std::nullopt;
}

async::Task<Result<Admission::Ticket>> Admission::Admit(RoomFor demand,
                                                        std::chrono::milliseconds wait) {
  auto deadline = std::chrono::steady_clock::now() + wait;
  uint64_t number = 0;
  Error why = Refused("others wait for it already");
  {
    std::lock_guard guard(mutex_);
    // Who needs no room takes none from those who wait.
    bool takes_none = demand.has_memory && rules_.max_sandboxes == 0 && rules_.overcommit == 0 &&
                      (rules_.disk_overcommit == 0 || demand.disk_bytes == 0);
    if (queue_.empty() || takes_none) {
      std::optional<Error> reason = TryLocked(demand);
      if (!reason) co_return Ticket(this, demand.id);
      why = *std::move(reason);
    }
    if (wait.count() <= 0) co_return Unexpected(std::move(why));
    if (queue_.size() >= kMostWaiting) {
      co_return Unexpected(Refused(fmt::format("{} others wait for it already", queue_.size())));
    }
    number = next_++;
    queue_.push_back(number);
  }
  Place place(*this, number);
  while (std::chrono::steady_clock::now() < deadline && !closed_) {
    co_await async::Sleep(kPoll);
    std::lock_guard guard(mutex_);
    if (!place.IsFirst()) continue;
    std::optional<Error> reason = TryLocked(demand);
    if (!reason) co_return Ticket(this, demand.id);
    why = *std::move(reason);
  }
  why.message += fmt::format("; waited {} ms", wait.count());
  co_return Unexpected(std::move(why));
}

uint64_t Admission::MissingMemory(const RoomFor& demand) const {
  std::lock_guard guard(mutex_);
  std::set<std::string> starting(starting_.begin(), starting_.end());
  return sandbox::MissingMemory(rules_, look_(), count_(starting), demand);
}

size_t Admission::waiting() const {
  std::lock_guard guard(mutex_);
  return queue_.size();
}

}  // namespace atl::sandbox
