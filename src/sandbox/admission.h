// SPDX-License-Identifier: Apache-2.0
// Whether the host has room for one sandbox more, and a queue for those who wait until it has.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "async/task.h"
#include "base/result.h"

namespace atl::sandbox {

struct AdmissionRules {
  uint64_t max_sandboxes = 0;  // that exist; 0: as many as there are ranges of ids
  // What stays available of the host. Nothing: 512 MiB of memory or a twentieth of it, 1 GiB of
  // disk or a twentieth, whichever is less. 0 of disk: it is not looked at.
  std::optional<uint64_t> memory_reserve;
  std::optional<uint64_t> disk_reserve;
  // The memory limits of all that run may add up to this many times the host's memory. 0: what is
  // promised does not count, only what is used.
  double overcommit = 0;
  // The disk limits of all that exist may add up to this many times the disk. 0 as above.
  double disk_overcommit = 0;
  // Of the time, in percent, that something has waited for memory lately (PSI); 0: not looked at.
  double memory_pressure = 60;
};

// What the host has now. A number that cannot be found out is 0, and then not decided by.
struct HostState {
  uint64_t memory_total = 0;
  uint64_t memory_available = 0;
  std::optional<double> memory_pressure;  // percent of the last ten seconds
  uint64_t disk_total = 0;
  uint64_t disk_free = 0;  // without what disk images have given out and not stored yet
  uint64_t inodes_total = 0;
  uint64_t inodes_free = 0;
};
HostState ReadHostState(const std::string& state_dir, const std::string& proc = "/proc");

// What there is already.
struct Occupancy {
  uint64_t sandboxes = 0;      // that exist or are being made
  uint64_t starting = 0;       // that have not shown yet how much memory they need
  uint64_t booting = 0;        // whose OpenCode starts, and takes more than that
  uint64_t promised = 0;       // memory limits of those that run or start
  uint64_t disk_promised = 0;  // disk limits of those that exist
};

struct RoomFor {
  std::string id;
  bool adds = true;  // false: it exists and is started again
  uint64_t memory_bytes = 0;
  uint64_t disk_bytes = 0;  // of its limit; 0: none
  bool has_memory = false;  // it takes over one that runs: what is used does not grow by it
};

// Why it does not fit: CAPACITY_EXCEEDED. Nothing when it does.
std::optional<Error> WhyNot(const AdmissionRules& rules, const HostState& host,
                            const Occupancy& load, const RoomFor& demand);
// How many bytes of memory are missing; 0 when it fits, or would not fit with more memory either.
uint64_t MissingMemory(const AdmissionRules& rules, const HostState& host, const Occupancy& load,
                       const RoomFor& demand);

class Admission {
 public:
  // `load`: what there is when those named are on their way too. Called with a lock held.
  using Look = std::function<HostState()>;
  using Count = std::function<Occupancy(const std::set<std::string>& starting)>;
  Admission(AdmissionRules rules, Look look, Count count)
      : rules_(rules), look_(std::move(look)), count_(std::move(count)) {}

  // Room that was given to one sandbox, until it runs or has failed.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Admission* admission, std::string id) : admission_(admission), id_(std::move(id)) {}
    Ticket(Ticket&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)), id_(std::move(other.id_)) {}
    Ticket& operator=(Ticket&& other) noexcept;
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket() { Release(); }
    explicit operator bool() const { return admission_ != nullptr; }
    void Release();

   private:
    Admission* admission_ = nullptr;
    std::string id_;
  };

  // At once, or after at most `wait`, first come first served. Who does not wait is refused while
  // others do.
  async::Task<Result<Ticket>> Admit(RoomFor demand, std::chrono::milliseconds wait);
  uint64_t MissingMemory(const RoomFor& demand) const;
  size_t waiting() const;
  // Closed: nobody waits any more.
  void Close(bool closed) { closed_ = closed; }

 private:
  class Place;  // in the queue
  std::optional<Error> TryLocked(const RoomFor& demand);

  AdmissionRules rules_;
  Look look_;
  Count count_;
  mutable std::mutex mutex_;
  std::atomic<bool> closed_ = false;
  std::deque<uint64_t> queue_;
  uint64_t next_ = 0;
  std::multiset<std::string> starting_;
};

}  // namespace atl::sandbox
