// SPDX-License-Identifier: Apache-2.0
// What blocks of a fork: copying the files of one sandbox into new layers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "oci/launcher.h"
#include "sandbox/rows.h"

namespace atl::sandbox {

struct ForkRequest {
  std::string
      id;  // of the first copy; the others are <id>-2 and so on. Empty: <source>-2 and so on
  int count = 1;
  bool memory = false;  // what runs goes on in the copies, too
};

class Sandbox;

// What those who know OpenCode do for copies of a sandbox in which it runs. Set once, before
// anything runs.
struct ForkHooks {
  std::function<async::Task<Result<bool>>(std::shared_ptr<Sandbox>)> runs;
  // A random draw that nobody sees, of numbers that it keeps in memory.
  std::function<async::Task<Result<std::string>>(std::shared_ptr<Sandbox>)> draw;
  // So that no copy draws what the others draw: finds those numbers in the images of a checkpoint
  // by what it had drawn just before, and has each copy make new ones. Blocks.
  std::function<Result<void>(const std::string& images, const std::vector<std::string>& drawn)>
      unseed;
  // Ends it in a copy that must not go on with them.
  std::function<async::Task<>(std::shared_ptr<Sandbox>)> end;
  // `id` is a copy in which it runs.
  std::function<void(std::string id)> made;
};

inline constexpr int kMostForks = 16;

// The `number`th name that is derived from `base`: "demo-2". Shortened where it gets too long.
std::string DerivedId(std::string_view base, int number);

struct ForkFacts {
  uint64_t files = 0;
  uint64_t bytes = 0;   // of content that was copied or shared, for all copies
  bool shared = false;  // the file system shares content between the copies
  bool frozen = false;  // the source stood still for its last pass, or nothing ran in it
  double copy_ms = 0;
  double freeze_ms = 0;  // as long as programs of the source stood still
  bool memory = false;   // what runs goes on in the copies
};

struct ForkLayers {
  const Row& source;
  bool asleep = false;  // its programs stand still already, and go on doing so
  const std::vector<Row>& targets;
  std::chrono::milliseconds freeze_limit{30'000};
  // In the place of a freezer: calls what it is given while the source stands still, and returns
  // for how many milliseconds it did.
  std::function<Result<double>(const std::function<Result<void>()>& last_pass)> hold;
  std::stop_token stop;
};

// Makes the layers of `targets`, all of one moment. FORK_CANCELLED, TOO_DEEP, FORK_UNSETTLED.
Result<ForkFacts> CopyLayers(oci::Launcher& launcher, const ForkLayers& layers);

// The files that programs of the group have mapped to write to them, as seen from their root,
// without the slash at the front. Their changes show in no time stamp.
std::set<std::string> MappedFiles(const sys::Cgroup& cgroup);
// The same, of the text of one /proc/<pid>/maps.
void AddMappedFiles(std::string_view maps, std::set<std::string>& files);

}  // namespace atl::sandbox
