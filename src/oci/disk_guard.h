// SPDX-License-Identifier: Apache-2.0
// Disk images may together promise more than the host's disk has. What programs write into one is
// taken by the file system in it at once and stored by the host later, when a disk that has become
// full would lose it without a word to anybody. So nothing is taken that cannot be stored: what is
// free on the host is divided among the images in use, and each may give out its part and no more.
// Whoever wants more gets ENOSPC then and there.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace atl::oci {

// What stays free of a disk unless it is configured: a gibibyte, or a twentieth of a small one.
uint64_t DiskReserve(uint64_t disk_total);

struct Division {
  std::vector<uint64_t> grants;
  uint64_t spare = 0;     // of whoever comes next
  bool satisfied = true;  // everybody got all that it could use
};
// Divides `room` among those who could use `wants`: all that they could, or else equal parts of
// most of it, for which nobody gets more than it could use.
Division DivideRoom(uint64_t room, const std::vector<uint64_t>& wants);

class DiskGuard {
 public:
  // `parent`: <state_dir>/sandboxes. `reserve`: what is never given out of what is free; nothing or
  // 0: DiskReserve.
  DiskGuard(std::string parent, std::optional<uint64_t> reserve);
  ~DiskGuard();
  DiskGuard(const DiskGuard&) = delete;
  DiskGuard& operator=(const DiskGuard&) = delete;

  // The image of `iid` is mounted at `place` and nobody writes into it yet.
  void Mounted(const std::string& iid, const std::string& place);
  // PID 1 of a sandbox, whose root shows what is in its image.
  void Runs(const std::string& iid, pid_t pid);
  void Ends(const std::string& iid);
  // A newer daemon does it from here on.
  void Rest(bool rests);
  // What images have given out and the host has not stored: as good as used.
  uint64_t owed() const { return owed_; }

 private:
  struct Image {
    std::string place;
    dev_t device = 0;  // of what is mounted there
    pid_t pid = 0;
    uint64_t granted = 0;
  };
  struct Measured {
    std::string iid;
    std::string device;     // "loop3"
    bool complete = false;  // false: only `owed` is known
    uint64_t block = 0;
    uint64_t free = 0;    // inside
    uint64_t usable = 0;  // of those, by programs
    uint64_t owed = 0;
  };
  std::string FileOf(const std::string& iid) const;
  Measured Measure(const std::string& iid, std::string device) const;
  void Grant(const Measured& image, uint64_t bytes);
  std::vector<Measured> MeasureAll();
  void Round();
  void Run(const std::stop_token& stop);

  const std::string parent_;
  const std::optional<uint64_t> reserve_;
  std::atomic<uint64_t> owed_ = 0;

  std::mutex mutex_;  // of what follows
  std::condition_variable_any wake_;
  std::map<std::string, Image, std::less<>> images_;
  uint64_t spare_ = 0;
  bool tight_ = false;
  bool looked_ = false;
  bool look_soon_ = false;
  bool rests_ = false;
  std::chrono::milliseconds pause_{0};
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace atl::oci
