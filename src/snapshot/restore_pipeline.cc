// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "snapshot/restore_crew.h"
#include "snapshot/restore_verify.h"

namespace atl::snapshot {

namespace {

using repository::BlobType;
using repository::Id;

// What is resolved and sorted at once.
constexpr size_t kMaxJobs = 65'536;
constexpr size_t kMaxBlobs = 262'144;
// Of one unit. A remote store's round trips want larger ones; the workers of a local one should
// end at about the same time.
constexpr uint64_t kRemoteRead = 8U << 20U;
constexpr uint64_t kLocalRead = 2U << 20U;
constexpr uint64_t kLargeUnit = 8U << 20U;  // of plaintext
constexpr size_t kUnitPieces = 1024;
constexpr size_t kEmptyFiles = 512;

}  // namespace

StagePipeline::StagePipeline(repository::Repository& repository, Stage& stage, int workers,
                             std::stop_token stop,
                             std::function<void(uint64_t, uint64_t)> on_written)
    : repository_(repository),
      stage_(stage),
      stop_(std::move(stop)),
      on_written_(std::move(on_written)),
      remote_(repository.store().remote()),
      read_bytes_(remote_ ? kRemoteRead : kLocalRead),
      // Waiting for a remote store takes no processor.
      lanes_(static_cast<size_t>(remote_ ? std::max(workers, 4) : workers)) {}

void StagePipeline::Add(FileJob job) {
  blobs_ += job.content.size();
  jobs_.push_back(std::move(job));
}

bool StagePipeline::full() const { return jobs_.size() >= kMaxJobs || blobs_ >= kMaxBlobs; }

Result<void> StagePipeline::Run() {
  if (jobs_.empty()) return {};
  TRY(Resolve());
  size_t tasks = units_.size() + (empty_.size() + kEmptyFiles - 1) / kEmptyFiles;
  next_ = 0;
  TRY(RunCrew(static_cast<int>(std::min(lanes_.size(), tasks)), stop_,
              [this](int worker, const std::stop_token& stop) {
                return Work(static_cast<size_t>(worker), stop);
              }));
  jobs_.clear();
  blobs_ = 0;
  return {};
}

Result<void> StagePipeline::Finish() {
  for (Lane& lane : lanes_) {
    if (!lane.writer) continue;
    TRY(lane.writer->Finish());
    lane.writer.reset();
  }
  return {};
}

Result<void> StagePipeline::Resolve() {
  empty_.clear();
  pieces_.clear();
  units_.clear();
  packs_.clear();
  pack_bytes_.clear();
  pack_numbers_.clear();
  left_.assign(jobs_.size(), 0);
  std::vector<Piece> small;
  for (uint32_t job = 0; job < jobs_.size(); ++job) TRY(ResolveJob(job, small));
  CutSmall(std::move(small));
  return {};
}

Result<void> StagePipeline::ResolveJob(uint32_t job, std::vector<Piece>& small) {
  const FileJob& file = jobs_[job];
  uint64_t at = 0;
  size_t begin = pieces_.size();
  for (const Id& id : file.content) {
    auto found = repository_.Find({BlobType::kData, id});
    if (!found) {
      return Fail(Code::kInternal,
                  fmt::format("{}: the repository lacks its blob {}", file.path, id.Hex()),
                  "BLOB_MISSING");
    }
    uint64_t offset = std::exchange(at, at + found->blob.PlainLength());
    if (at > file.size) break;
    if (IsZeroBlob(found->blob)) continue;
    uint32_t pack = PackNumber(found->pack);
    pack_bytes_[pack] += found->blob.length;
    pieces_.push_back({.job = job, .pack = pack, .offset = offset, .blob = found->blob});
  }
  if (at != file.size) {
    return Fail(Code::kInternal,
                fmt::format("{}: the snapshot says that it has {} bytes, its content has not",
                            file.path, file.size),
                "REPOSITORY_CORRUPT");
  }
  size_t count = pieces_.size() - begin;
  if (count == 0) {
    empty_.push_back(job);
  } else if (file.content.size() == 1) {
    small.push_back(pieces_.back());
    pieces_.pop_back();
  } else {
    left_[job] = static_cast<uint32_t>(count);
    CutLarge(job, begin);
  }
  return {};
}

// Large files come one behind the other, so that few are open at once.
void StagePipeline::CutLarge(uint32_t, size_t begin) {
  uint64_t bytes = 0;
  size_t from = begin;
  auto cut = [&](size_t end) {
    std::sort(pieces_.begin() + static_cast<ptrdiff_t>(from),
              pieces_.begin() + static_cast<ptrdiff_t>(end), [](const Piece& a, const Piece& b) {
                return std::tie(a.pack, a.blob.offset) < std::tie(b.pack, b.blob.offset);
              });
    units_.push_back({.begin = from, .end = end, .large = true});
    from = end;
    bytes = 0;
  };
  for (size_t i = begin; i < pieces_.size(); ++i) {
    uint64_t length = pieces_[i].blob.PlainLength();
    if (i > from && bytes + length > kLargeUnit) cut(i);
    bytes += length;
  }
  cut(pieces_.size());
}

void StagePipeline::CutSmall(std::vector<Piece> small) {
  std::sort(small.begin(), small.end(), [](const Piece& a, const Piece& b) {
    return std::tie(a.pack, a.blob.offset, a.job) < std::tie(b.pack, b.blob.offset, b.job);
  });
  size_t base = pieces_.size();
  size_t from = 0;
  for (size_t i = 1; i <= small.size(); ++i) {
    bool same_blob = i < small.size() && small[i].blob.handle == small[i - 1].blob.handle;
    if (i < small.size() && small[i].pack == small[from].pack &&
        (same_blob || (small[i].blob.offset - small[from].blob.offset < read_bytes_ &&
                       i - from < kUnitPieces))) {
      continue;
    }
    units_.push_back({.begin = base + from, .end = base + i});
    from = i;
  }
  pieces_.insert(pieces_.end(), small.begin(), small.end());
}

uint32_t StagePipeline::PackNumber(const Id& pack) {
  auto [entry, added] = pack_numbers_.try_emplace(pack, static_cast<uint32_t>(packs_.size()));
  if (added) {
    packs_.push_back(pack);
    pack_bytes_.push_back(0);
  }
  return entry->second;
}

Result<void> StagePipeline::Work(size_t worker, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    size_t task = next_++;
    if (task < units_.size()) {
      TRY(WriteUnit(worker, units_[task], stop));
      continue;
    }
    size_t begin = (task - units_.size()) * kEmptyFiles;
    if (begin >= empty_.size()) break;
    TRY(WriteEmpty(worker, begin, std::min(empty_.size(), begin + kEmptyFiles)));
  }
  return {};
}

}  // namespace atl::snapshot
