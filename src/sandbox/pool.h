// SPDX-License-Identifier: Apache-2.0
// The warm pool: sandboxes that were prepared for nobody and wait, frozen, to become somebody's.
// How many there are to be, when the host can afford one, and for what one was made. What keeps
// the pool is in warm_pool.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/limits.h"

namespace atl::sandbox {

class Sandbox;

struct PoolOptions {
  uint32_t warm_target = 0;    // of each image; 0: no pool
  uint32_t max_instances = 0;  // sandboxes of the image, somebody's and members; 0: no bound
  std::chrono::milliseconds refresh_interval{10'000};
  uint32_t scale_batch_size = 5;       // made or removed in one round
  uint32_t min = 0;                    // as many whatever the demand; 0: warm_target
  uint32_t max = 0;                    // not more whatever the demand; 0: four times warm_target
  bool opencode = true;                // OpenCode runs in them
  std::string criu;                    // the program that makes them; empty: looked for
  bool templates = true;               // keep one as files, where the host can
  std::vector<std::string> images;     // empty: the default image
  uint64_t free_memory = 1ULL << 30U;  // what must stay available on the host
  double max_load = 2;                 // of the host per CPU, above which none is made
};

// What those who know OpenCode do for a member. Set once, before anything runs.
struct PoolHooks {
  // Starts what a member is to run and waits until it is healthy.
  std::function<async::Task<Result<void>>(std::shared_ptr<Sandbox>)> warm;
  // Ends it again: its files are about to change under it.
  std::function<async::Task<>(std::shared_ptr<Sandbox>)> cool;
  // `id`, which somebody has now, runs it.
  std::function<void(std::string id)> claimed;
  // Whether it can be without these variables, which it was not started with.
  std::function<bool(const Environment&)> suits;
  // Whether it would see a restore into `dir`.
  std::function<bool(std::string_view dir)> keeps_state_in;
  // What a copy of a checkpoint will draw next that nobody is to guess: two of its draws. Copies
  // that draw the same are of no use.
  std::function<async::Task<Result<std::vector<std::string>>>(std::shared_ptr<Sandbox>)> draw;
  // Changes the images of a checkpoint, of whose copies one has drawn this, so that each copy draws
  // anew. Blocks.
  std::function<Result<void>(const std::string& images, const std::vector<std::string>& drawn)>
      unseed;
  // What it is: of which version, how configured.
  std::string identity;
};

struct PoolStats {
  size_t warm = 0;      // members that wait
  size_t starting = 0;  // members that are being made
  size_t assigned = 0;  // sandboxes of the pool's images that are somebody's
  size_t wanted = 0;
  uint64_t hits = 0;    // creates that got a member
  uint64_t misses = 0;  // creates that could have used one, but there was none
  PoolOptions options;
};

// The id of a member, which no sandbox that is somebody's can have.
inline std::string MemberId(std::string_view iid) { return "~" + std::string(iid); }
inline bool IsMemberId(std::string_view id) { return id.starts_with('~'); }
// A member's own name for itself.
inline constexpr std::string_view kMemberHostname = "sandbox";

// How many members of an image there are to be when `demand` were asked for in the last minute.
size_t Wanted(const PoolOptions& options, size_t demand);
// How many to make (or, negative, to remove) in one round. `members`: those there are; `others`:
// sandboxes of the same image that are somebody's.
int64_t PoolChange(const PoolOptions& options, size_t wanted, size_t members, size_t others);

struct HostLoad {
  uint64_t available_bytes = 0;
  double load_per_cpu = 0;  // the mean of the last minute
};
Result<HostLoad> ReadHostLoad();
// Whether the host can afford one more member.
bool HasHeadroom(const PoolOptions& options, const HostLoad& load);
// Whether members have to go, so that others have their memory.
bool IsShort(const PoolOptions& options, const HostLoad& load);

// What was asked for in the last minute.
class Demand {
 public:
  using Clock = std::chrono::steady_clock;
  void Note(Clock::time_point now = Clock::now());
  size_t LastMinute(Clock::time_point now = Clock::now());

 private:
  std::deque<Clock::time_point> asked_;
};

// What a member was made of: one that was made of something else is replaced.
struct PoolIdentity {
  std::string image;
  std::string images_dir;
  std::vector<std::string> binaries;  // paths
  Limits limits;
  Environment env;
  std::string hooks;
};
Result<std::string> PoolKey(const PoolIdentity& identity);

// Whether a member that was made with the limits `made`, and runs OpenCode or nothing, can be given
// `wanted`.
bool CanBecome(const Limits& made, const Limits& wanted, bool opencode);

}  // namespace atl::sandbox
