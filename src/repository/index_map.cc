// SPDX-License-Identifier: Apache-2.0
#include "repository/index_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <random>
#include <utility>

namespace atl::repository {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32U) ^ device();
}

}  // namespace

IndexMap::IndexMap(uint64_t max_blobs)
    : max_blobs_(std::min<uint64_t>(max_blobs, UINT32_MAX - 1)), seed_(RandomSeed()) {
  slots_.resize(1024);
}

BlobHandle IndexMap::HandleOf(const Entry& entry) {
  return {.type = static_cast<BlobType>(entry.pack_and_type & 1U), .id = entry.id};
}

BlobLocation IndexMap::LocationOf(const Entry& entry) const {
  return {.pack = packs_[entry.pack_and_type >> 1U].id,
          .blob = {.handle = HandleOf(entry),
                   .offset = entry.offset,
                   .length = entry.length,
                   .raw_length = entry.raw_length}};
}

// Seeded: whoever chooses the contents of blobs must not be able to make one chain of them all.
size_t IndexMap::SlotOf(const BlobHandle& handle) const {
  uint64_t word = 0;
  std::memcpy(&word, handle.id.bytes.data() + 8, sizeof(word));
  const uint64_t mixed =
      ((word ^ seed_) + static_cast<uint64_t>(handle.type)) * 0x9e3779b97f4a7c15ULL;
  return mixed >> (64U - static_cast<unsigned>(std::countr_zero(slots_.size())));
}

template <class Fn>
bool IndexMap::Probe(const BlobHandle& handle, Fn fn) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = SlotOf(handle); slots_[slot] != 0; slot = (slot + 1) & mask) {
    const Entry& entry = At(slots_[slot] - 1);
    if (entry.id == handle.id && (entry.pack_and_type & 1U) == static_cast<uint32_t>(handle.type) &&
        fn(entry)) {
      return true;
    }
  }
  return false;
}

void IndexMap::Link(uint32_t index) {
  const size_t mask = slots_.size() - 1;
  size_t slot = SlotOf(HandleOf(At(index)));
  while (slots_[slot] != 0) slot = (slot + 1) & mask;
  slots_[slot] = index + 1;
}

void IndexMap::Rehash(size_t slots) {
  slots_.clear();
  if (slots != slots_.capacity()) slots_ = {};
  slots_.resize(slots);
  for (size_t i = 0; i < count_; ++i) Link(static_cast<uint32_t>(i));
}

uint32_t IndexMap::PackNumber(const Id& id) {
  const auto [found, added] = pack_numbers_.try_emplace(id, 0);
  if (!added) return found->second;
  if (free_packs_.empty()) {
    found->second = static_cast<uint32_t>(packs_.size());
    packs_.emplace_back();
  } else {
    found->second = free_packs_.back();
    free_packs_.pop_back();
  }
  packs_[found->second] = {.id = id, .end = 0, .live = true, .files = {}};
  return found->second;
}

Result<void> IndexMap::AddBlob(uint32_t pack, const PackedBlob& blob) {
  const bool known = Probe(blob.handle, [&](const Entry& entry) {
    return entry.pack_and_type >> 1U == pack && entry.offset == blob.offset;
  });
  if (known) return {};
  if (count_ >= max_blobs_) {
    return Fail(Code::kResourceExhausted,
                fmt::format("the repository has more than {} blobs", max_blobs_),
                "INDEX_TOO_LARGE");
  }
  if (count_ / kChunk == chunks_.size()) chunks_.push_back(std::make_unique<Chunk>());
  At(count_) = {.id = blob.handle.id,
                .pack_and_type = (pack << 1U) | static_cast<uint32_t>(blob.handle.type),
                .offset = blob.offset,
                .length = blob.length,
                .raw_length = blob.raw_length};
  ++count_;
  if (count_ * 4 > slots_.size() * 3) {
    Rehash(slots_.size() * 2);
  } else {
    Link(static_cast<uint32_t>(count_ - 1));
  }
  return {};
}

Result<void> IndexMap::AddFile(const Id& file, std::span<const IndexedPack> packs) {
  auto added = AddPacks(file, packs);
  if (!added) DropFiles(std::span(&file, 1));
  return added;
}

Result<void> IndexMap::AddPacks(const Id& file, std::span<const IndexedPack> packs) {
  const std::unique_lock lock(mutex_);
  const auto [found, added] = file_numbers_.try_emplace(file, next_file_);
  if (!added) return {};
  const uint32_t number = next_file_++;
  file_ids_.emplace(number, file);
  for (const IndexedPack& pack : packs) {
    const uint32_t pack_number = PackNumber(pack.pack);
    auto& files = packs_[pack_number].files;
    if (std::find(files.begin(), files.end(), number) == files.end()) files.push_back(number);
    for (const PackedBlob& blob : pack.blobs) {
      packs_[pack_number].end = std::max(packs_[pack_number].end, blob.offset + blob.length);
      TRY(AddBlob(pack_number, blob));
    }
  }
  return {};
}

void IndexMap::DropFiles(std::span<const Id> files) {
  const std::unique_lock lock(mutex_);
  std::unordered_set<uint32_t> numbers;
  for (const Id& file : files) {
    const auto found = file_numbers_.find(file);
    if (found == file_numbers_.end()) continue;
    numbers.insert(found->second);
    file_ids_.erase(found->second);
    file_numbers_.erase(found);
  }
  if (numbers.empty()) return;
  std::vector<uint32_t> dead;
  for (size_t i = 0; i < packs_.size(); ++i) {
    Pack& pack = packs_[i];
    if (!pack.live) continue;
    std::erase_if(pack.files, [&](uint32_t number) { return numbers.contains(number); });
    if (!pack.files.empty()) continue;
    pack.live = false;
    dead.push_back(static_cast<uint32_t>(i));
  }
  if (dead.empty()) return;
  RemoveEntriesOfDeadPacks();
  for (const uint32_t number : dead) {
    pack_numbers_.erase(packs_[number].id);
    packs_[number] = {};
    free_packs_.push_back(number);
  }
}

// Prune is rare: all entries are looked at once, the last ones fill the holes.
void IndexMap::RemoveEntriesOfDeadPacks() {
  size_t kept = 0;
  for (size_t i = 0; i < count_; ++i) {
    const Entry& entry = At(i);
    if (!packs_[entry.pack_and_type >> 1U].live) continue;
    if (kept != i) At(kept) = entry;
    ++kept;
  }
  count_ = kept;
  chunks_.resize((count_ + kChunk - 1) / kChunk);
  Rehash(std::bit_ceil(std::max<size_t>(1024, (count_ * 4 / 3) + 1)));
}

bool IndexMap::HasFile(const Id& file) const {
  const std::shared_lock lock(mutex_);
  return file_numbers_.contains(file);
}

std::vector<Id> IndexMap::Files() const {
  const std::shared_lock lock(mutex_);
  std::vector<Id> files;
  files.reserve(file_numbers_.size());
  for (const auto& [file, number] : file_numbers_) files.push_back(file);
  return files;
}

bool IndexMap::Has(const BlobHandle& handle) const {
  const std::shared_lock lock(mutex_);
  return Probe(handle, [](const Entry&) { return true; });
}

bool IndexMap::HasOutside(const BlobHandle& handle, const IdSet& leaving) const {
  const std::shared_lock lock(mutex_);
  return Probe(handle, [&](const Entry& entry) {
    return !leaving.contains(packs_[entry.pack_and_type >> 1U].id);
  });
}

std::optional<BlobLocation> IndexMap::Find(const BlobHandle& handle) const {
  const std::shared_lock lock(mutex_);
  std::optional<BlobLocation> location;
  Probe(handle, [&](const Entry& entry) {
    location = LocationOf(entry);
    return true;
  });
  return location;
}

std::vector<BlobLocation> IndexMap::FindAll(const BlobHandle& handle) const {
  const std::shared_lock lock(mutex_);
  std::vector<BlobLocation> locations;
  Probe(handle, [&](const Entry& entry) {
    locations.push_back(LocationOf(entry));
    return false;
  });
  return locations;
}

uint64_t IndexMap::blob_count() const {
  const std::shared_lock lock(mutex_);
  return count_;
}

uint64_t IndexMap::PackEnd(const Id& pack) const {
  const std::shared_lock lock(mutex_);
  const auto found = pack_numbers_.find(pack);
  return found == pack_numbers_.end() ? 0 : packs_[found->second].end;
}

void IndexMap::ForEachBlob(
    const std::function<void(const Id& pack, const PackedBlob& blob)>& fn) const {
  const std::shared_lock lock(mutex_);
  for (size_t i = 0; i < count_; ++i) {
    const BlobLocation location = LocationOf(At(i));
    fn(location.pack, location.blob);
  }
}

Result<void> IndexMap::ForEachPack(const OnPack& fn) const {
  const std::shared_lock lock(mutex_);
  // A counting sort of the entries by their pack: four bytes each.
  std::vector<uint32_t> begin(packs_.size() + 1);
  for (size_t i = 0; i < count_; ++i) ++begin[(At(i).pack_and_type >> 1U) + 1];
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<uint32_t> order(count_);
  std::vector<uint32_t> next(begin.begin(), begin.end());
  for (size_t i = 0; i < count_; ++i) {
    order[next[At(i).pack_and_type >> 1U]++] = static_cast<uint32_t>(i);
  }
  for (size_t number = 0; number < packs_.size(); ++number) {
    const Pack& pack = packs_[number];
    if (!pack.live) continue;
    IndexedPack indexed{.pack = pack.id, .blobs = {}};
    for (uint32_t i = begin[number]; i < begin[number + 1]; ++i) {
      indexed.blobs.push_back(LocationOf(At(order[i])).blob);
    }
    std::sort(indexed.blobs.begin(), indexed.blobs.end(),
              [](const PackedBlob& a, const PackedBlob& b) { return a.offset < b.offset; });
    std::vector<Id> files;
    for (const uint32_t file : pack.files) {
      if (const auto found = file_ids_.find(file); found != file_ids_.end()) {
        files.push_back(found->second);
      }
    }
    TRY(fn(indexed, files));
  }
  return {};
}

}  // namespace atl::repository
