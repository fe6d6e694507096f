// SPDX-License-Identifier: Apache-2.0
#include "repository/chunker.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace atl::repository {
namespace {

constexpr size_t kWindow = 64;
constexpr uint64_t kSplitMask = (uint64_t{1} << 20U) - 1;
// Fingerprints of this many places of the data are rolled at once: each waits for memory at every
// byte, and waits for several overlap.
constexpr size_t kLanes = 4;
constexpr size_t kMinLane = 512;
constexpr size_t kMaxLane = 16U << 10U;

// Tables and shift where the compiler can keep them in registers.
struct Roller {
  const uint64_t* out;
  const uint64_t* mod;
  unsigned shift;

  // `byte` comes in. What goes out has been taken away before.
  uint64_t In(uint64_t digest, unsigned char byte) const {
    auto top = static_cast<unsigned char>(digest >> shift);
    return ((digest << 8U) | byte) ^ mod[top];
  }
  uint64_t Roll(uint64_t digest, unsigned char gone, unsigned char byte) const {
    return In(digest ^ out[gone], byte);
  }
  // Of the kWindow bytes before `at`.
  uint64_t Whole(const unsigned char* at) const {
    uint64_t digest = 0;
    for (const unsigned char* byte = at - kWindow; byte != at; ++byte) digest = In(digest, *byte);
    return digest;
  }
};

// The first of [at, end) that ends a chunk; null when there is none. There are kWindow bytes of the
// chunk before `at`, and `digest` is theirs.
const unsigned char* FindInOneLane(const Roller& roller, const unsigned char* at,
                                   const unsigned char* end, uint64_t& digest) {
  uint64_t rolled = digest;
  for (const unsigned char* gone = at - kWindow; at != end; ++at, ++gone) {
    rolled = roller.Roll(rolled, *gone, *at);
    if ((rolled & kSplitMask) == 0) return at;
  }
  digest = rolled;
  return nullptr;
}

// The same for kLanes * lane bytes from `at`.
const unsigned char* FindInLanes(const Roller& roller, const unsigned char* at, size_t lane,
                                 uint64_t& digest) {
  const unsigned char* a = at;
  const unsigned char* b = a + lane;
  const unsigned char* c = b + lane;
  const unsigned char* d = c + lane;
  uint64_t digest_a = digest;
  uint64_t digest_b = roller.Whole(b);
  uint64_t digest_c = roller.Whole(c);
  uint64_t digest_d = roller.Whole(d);
  std::array<size_t, kLanes> found;
  found.fill(lane);
  const unsigned char* gone_a = a - kWindow;
  const unsigned char* gone_b = b - kWindow;
  const unsigned char* gone_c = c - kWindow;
  const unsigned char* gone_d = d - kWindow;
  for (size_t i = 0; i < lane; ++i) {
    digest_a = roller.Roll(digest_a, gone_a[i], a[i]);
    digest_b = roller.Roll(digest_b, gone_b[i], b[i]);
    digest_c = roller.Roll(digest_c, gone_c[i], c[i]);
    digest_d = roller.Roll(digest_d, gone_d[i], d[i]);
    if ((digest_a & kSplitMask) == 0) return a + i;
    if ((digest_b & kSplitMask) == 0) [[unlikely]]
      found[1] = std::min(found[1], i);
    if ((digest_c & kSplitMask) == 0) [[unlikely]]
      found[2] = std::min(found[2], i);
    if ((digest_d & kSplitMask) == 0) [[unlikely]]
      found[3] = std::min(found[3], i);
  }
  for (size_t i = 1; i < kLanes; ++i) {
    if (found[i] != lane) return at + i * lane + found[i];
  }
  digest = digest_d;
  return nullptr;
}

const unsigned char* Find(const Roller& roller, const unsigned char* at, const unsigned char* end,
                          uint64_t& digest) {
  for (;;) {
    size_t lane = std::min(kMaxLane, static_cast<size_t>(end - at) / kLanes);
    if (lane < kMinLane) break;
    if (const auto* found = FindInLanes(roller, at, lane, digest)) return found;
    at += lane * kLanes;
  }
  return FindInOneLane(roller, at, end, digest);
}

}  // namespace

Chunker::Chunker(std::shared_ptr<const ChunkerTables> tables) : tables_(std::move(tables)) {
  Reset();
}

void Chunker::Reset() {
  window_at_ = 0;
  digest_ = 0;
  count_ = 0;
}

std::optional<size_t> Chunker::Next(std::string_view data) {
  const Roller roller{.out = tables_->out.data(),
                      .mod = tables_->mod.data(),
                      .shift = static_cast<unsigned>(std::bit_width(tables_->polynomial)) - 1 - 8};
  const auto* begin = reinterpret_cast<const unsigned char*>(data.data());
  const auto* end = begin + std::min(data.size(), kMaxChunk - count_);
  const auto* at = begin;
  auto cut_behind = [&](const unsigned char* last) {
    Reset();
    return static_cast<size_t>(last + 1 - begin);
  };

  // Nothing matters up to the window before the first place where a chunk may end. (restic begins
  // with a byte 1 in the window; it has gone there.)
  if (count_ < kMinChunk - kWindow) {
    at += std::min(kMinChunk - kWindow - count_, static_cast<size_t>(end - at));
  }
  while (window_at_ < kWindow && at != end) {
    digest_ = roller.In(digest_, *at);
    window_[window_at_++] = *at++;
    if (window_at_ == kWindow && (digest_ & kSplitMask) == 0) return cut_behind(at - 1);
  }
  if (at != end) {
    // The window reaches back into what came before: put both together as far as it does.
    std::array<unsigned char, 2 * kWindow> seam;
    std::memcpy(seam.data(), window_.data(), kWindow);
    size_t joined = std::min(kWindow, static_cast<size_t>(end - at));
    const unsigned char* seam_at = seam.data() + kWindow;
    std::memcpy(seam.data() + kWindow, at, joined);
    if (const auto* last = FindInOneLane(roller, seam_at, seam_at + joined, digest_)) {
      return cut_behind(at + (last - seam_at));
    }
    std::memcpy(window_.data(), seam.data() + joined, kWindow);
    at += joined;
  }
  if (at != end) {
    if (const auto* last = Find(roller, at, end, digest_)) return cut_behind(last);
    // At least the whole window lies before `end`: `at` is behind as much.
    std::memcpy(window_.data(), end - kWindow, kWindow);
  }
  count_ += static_cast<size_t>(end - begin);
  if (count_ == kMaxChunk) return cut_behind(end - 1);
  return std::nullopt;
}

}  // namespace atl::repository
