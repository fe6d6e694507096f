// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "oci/layer_copy.h"
#include "sandbox/fork.h"
#include "sandbox/freezer.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::duration<double, std::milli>;

constexpr size_t kMaxIdLength = 39;
// Passes beside running programs go on until one has taken no longer than this.
constexpr std::chrono::milliseconds kShortPass{100};
constexpr int kMostFreePasses = 4;
constexpr int kMostFrozenPasses = 3;
constexpr size_t kMostMapsBytes = 16U << 20U;

double MsSince(Clock::time_point begin) { return Millis(Clock::now() - begin).count(); }

// An octal escape of the kernel: "\012".
std::string Unescape(std::string_view text) {
  std::string out;
  auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

void Add(ForkFacts& facts, const oci::LayerCopyStats& stats) {
  facts.files = std::max(facts.files, stats.files);
  facts.bytes += stats.bytes;
  facts.shared = facts.shared || stats.shared;
}

// The last pass of a source whose programs run: they stand still for it.
// `mapped`: what they had mapped before, too.
Result<void> PassFrozen(const sys::Cgroup& cgroup, const ForkLayers& layers, oci::LayerCopy& copy,
                        std::set<std::string> mapped, ForkFacts& facts) {
  for (int round = 0; round < kMostFrozenPasses; ++round) {
    Freezer freezer(cgroup, layers.freeze_limit);
    auto begin = Clock::now();
    Result<void> frozen = freezer.Set(true);
    if (!frozen) {
      log::Warning("fork sandbox {}: {}; copying beside running programs", layers.source.id,
                   frozen.error().message);
      mapped.merge(MappedFiles(cgroup));
      ASSIGN(oci::LayerCopyStats stats, copy.Pass(mapped));
      Add(facts, stats);
      return {};
    }
    mapped.merge(MappedFiles(cgroup));
    auto stats = copy.Pass(mapped);
    bool held = !freezer.cut_short();
    Result<void> thawed = freezer.Set(false);
    facts.freeze_ms += MsSince(begin);
    TRY(std::move(thawed));
    if (!stats) return Unexpected(std::move(stats).error());
    Add(facts, *stats);
    if (held) {
      facts.frozen = true;
      return {};
    }
  }
  return Fail(Code::kUnavailable,
              fmt::format("fork sandbox {}: too much changes in it to be copied while it stands "
                          "still for {} ms",
                          layers.source.id, layers.freeze_limit.count()),
              "FORK_UNSETTLED");
}

// The last pass of one that somebody else lets stand still.
Result<void> PassHeld(const sys::Cgroup& cgroup, const ForkLayers& layers, oci::LayerCopy& copy,
                      std::set<std::string> mapped, ForkFacts& facts) {
  auto last_pass = [&]() -> Result<void> {
    mapped.merge(MappedFiles(cgroup));
    ASSIGN(oci::LayerCopyStats stats, copy.Pass(mapped));
    Add(facts, stats);
    return {};
  };
  ASSIGN(facts.freeze_ms, layers.hold(last_pass));
  facts.frozen = true;
  return {};
}

Result<void> CopyFirst(oci::Launcher& launcher, const ForkLayers& layers, oci::LayerCopy& copy,
                       ForkFacts& facts) {
  sys::Cgroup cgroup = launcher.CgroupOf(layers.source.iid);
  auto pids = cgroup.Processes();
  bool running = layers.hold || (!layers.asleep && pids && !pids->empty());
  std::set<std::string> mapped;
  for (int round = 0; round < kMostFreePasses; ++round) {
    auto begin = Clock::now();
    mapped.merge(MappedFiles(cgroup));
    ASSIGN(oci::LayerCopyStats stats, copy.Pass(mapped));
    Add(facts, stats);
    if (!running) {
      facts.frozen = true;
      return {};
    }
    if (Clock::now() - begin < kShortPass) break;
  }
  if (layers.hold) return PassHeld(cgroup, layers, copy, std::move(mapped), facts);
  return PassFrozen(cgroup, layers, copy, std::move(mapped), facts);
}

}  // namespace

std::string DerivedId(std::string_view base, int number) {
  std::string end = fmt::format("-{}", number);
  base = base.substr(0, kMaxIdLength - end.size());
  while (base.ends_with('-')) base.remove_suffix(1);
  return fmt::format("{}{}", base, end);
}

void AddMappedFiles(std::string_view maps, std::set<std::string>& files) {
  while (!maps.empty()) {
    size_t end = std::min(maps.find('\n'), maps.size());
    std::string_view line = maps.substr(0, end);
    maps.remove_prefix(std::min(end + 1, maps.size()));
    // 7f00-7f01 rw-s 00000000 fe:00 1234      /path
    size_t mode = line.find(' ');
    size_t path = line.find('/');
    if (mode == std::string_view::npos || path == std::string_view::npos) continue;
    std::string_view bits = line.substr(mode + 1, 4);
    bool writes = bits.size() == 4 && bits[1] == 'w' && bits[3] == 's';
    if (writes && !line.ends_with(" (deleted)")) files.insert(Unescape(line.substr(path + 1)));
  }
}

std::set<std::string> MappedFiles(const sys::Cgroup& cgroup) {
  std::set<std::string> files;
  auto pids = cgroup.Processes();
  if (!pids) return files;
  for (int pid : *pids) {
    auto maps = sys::ReadFile(fmt::format("/proc/{}/maps", pid), kMostMapsBytes);
    if (maps) AddMappedFiles(*maps, files);
  }
  return files;
}

Result<ForkFacts> CopyLayers(oci::Launcher& launcher, const ForkLayers& layers) {
  ForkFacts facts;
  auto begin = Clock::now();
  // The first is copied from the source, the others from it: the source stands still once.
  const Row* from = &layers.source;
  std::vector<oci::OpenLayer> open;
  ASSIGN(oci::OpenLayer source, launcher.layers().Show(layers.source.iid));
  open.push_back(std::move(source));
  for (const Row& target : layers.targets) {
    ASSIGN(oci::OpenLayer layer, launcher.layers().Open({.iid = target.iid,
                                                         .id_base = target.id_base(),
                                                         .disk_bytes = target.limits.disk_bytes,
                                                         .inodes = target.limits.inodes}));
    ASSIGN(oci::LayerCopy copy, oci::LayerCopy::Open({.source = open.back().dir() + "/upper",
                                                      .target = layer.dir() + "/upper",
                                                      .source_base = from->id_base(),
                                                      .target_base = target.id_base(),
                                                      .stop = layers.stop}));
    if (from == &layers.source) {
      TRY(CopyFirst(launcher, layers, copy, facts));
      from = &target;
      open.push_back(std::move(layer));
    } else {
      ASSIGN(oci::LayerCopyStats stats, copy.Pass());
      Add(facts, stats);
    }
  }
  facts.copy_ms = MsSince(begin);
  return facts;
}

}  // namespace atl::sandbox
