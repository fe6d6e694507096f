// SPDX-License-Identifier: Apache-2.0
// How a worker of the pipeline loads pieces and sends them.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "snapshot/restore_pipeline.h"

namespace atl::snapshot {

namespace {

// Between two blobs of a read: cheaper to read over than to ask again.
constexpr uint64_t kMaxGap = 256U << 10U;
// Fits into a frame together with what is around it.
constexpr size_t kMaxSend = 512U << 10U;
// Zeros that become a hole: whole blocks, and enough of them to be worth a record.
constexpr size_t kBlock = 4096;
constexpr size_t kMinHole = 64U << 10U;
// More than this of a pack is needed: a remote one is fetched as a whole and cached.
constexpr uint64_t kMostOfPack = repository::kPackBytes / 2;

bool IsZeroBlock(const char* block) {
  return block[0] == 0 && std::memcmp(block, block + 1, kBlock - 1) == 0;
}

// Bytes of `data` before a run of zeros that becomes a hole (sets its length), or all of them.
// `offset` is that of `data` in the file.
size_t BytesBeforeHole(std::string_view data, uint64_t offset, size_t& hole) {
  hole = 0;
  size_t at = (kBlock - offset % kBlock) % kBlock;
  while (at + kMinHole <= data.size()) {
    size_t begin = at;
    while (at + kBlock <= data.size() && IsZeroBlock(data.data() + at)) at += kBlock;
    if (at - begin >= kMinHole) {
      hole = at - begin;
      return begin;
    }
    at += kBlock;
  }
  return data.size();
}

Error OfPack(Error error, const repository::Id& pack) {
  // What the index names and the store does not have is no mistake of whoever asked.
  if (error.code == Code::kNotFound) {
    error.code = Code::kInternal;
    error.reason = "REPOSITORY_CORRUPT";
  }
  if (error.code == Code::kCancelled) return error;
  return std::move(error).Wrap(fmt::format("pack {}", pack.Hex()));
}

}  // namespace

Result<void> StagePipeline::Open(Lane& lane) {
  if (lane.writer) return {};
  ASSIGN(lane.writer, stage_.OpenWriter());
  return {};
}

Result<void> StagePipeline::WriteEmpty(size_t worker, size_t begin, size_t end) {
  Lane& lane = lanes_[worker];
  std::lock_guard lock(lane.mutex);
  TRY(Open(lane));
  for (size_t i = begin; i < end; ++i) {
    const FileJob& job = jobs_[empty_[i]];
    uint32_t tag = lane.next_tag++;
    TRY(Begin(lane, job, tag));
    TRY(lane.writer->End(tag));
    on_written_(1, job.size);
  }
  return {};
}

// Of a unit, what lies close together in one pack is one read.
Result<void> StagePipeline::WriteUnit(size_t worker, const Unit& unit,
                                      const std::stop_token& stop) {
  size_t begin = unit.begin;
  for (size_t i = begin + 1; i <= unit.end; ++i) {
    if (i < unit.end) {
      const repository::PackedBlob& first = pieces_[begin].blob;
      const repository::PackedBlob& last = pieces_[i - 1].blob;
      const repository::PackedBlob& next = pieces_[i].blob;
      uint64_t last_end = uint64_t{last.offset} + last.length;
      if (pieces_[i].pack == pieces_[begin].pack && next.offset <= last_end + kMaxGap &&
          uint64_t{next.offset} + next.length - first.offset <= 2 * read_bytes_) {
        continue;
      }
    }
    if (stop.stop_requested()) return Fail(Code::kCancelled, "stopped");
    TRY(WriteRead(worker, begin, i, unit.large, stop));
    begin = i;
  }
  return {};
}

Result<void> StagePipeline::WriteRead(size_t worker, size_t begin, size_t end, bool large,
                                      const std::stop_token& stop) {
  const repository::Id& pack = packs_[pieces_[begin].pack];
  uint64_t from = pieces_[begin].blob.offset;
  uint64_t to = from;
  for (size_t i = begin; i < end; ++i) {
    to = std::max(to, uint64_t{pieces_[i].blob.offset} + pieces_[i].blob.length);
  }
  bool keep = remote_ && pack_bytes_[pieces_[begin].pack] > kMostOfPack;
  auto sealed = repository_.ReadPack(pack, from, to - from, keep, stop);
  if (!sealed) {
    return std::unexpected(
        OfPack(std::move(sealed).error(), pack).Wrap(jobs_[pieces_[begin].job].path));
  }
  std::string plain;
  for (size_t i = begin; i < end; ++i) {
    const Piece& piece = pieces_[i];
    if (i == begin || piece.blob.handle != pieces_[i - 1].blob.handle) {
      auto opened = repository::OpenBlob(
          repository_.key(), piece.blob,
          std::string_view(*sealed).substr(piece.blob.offset - from, piece.blob.length));
      // What is damaged may be the copy in the cache: Load drops it, asks the store, and looks for
      // another pack that has the blob.
      if (!opened) opened = repository_.Load(piece.blob.handle, stop);
      if (!opened) {
        return std::unexpected(OfPack(std::move(opened).error(), pack).Wrap(jobs_[piece.job].path));
      }
      plain = *std::move(opened);
    }
    auto written = large ? WriteLarge(piece, plain) : WriteSmall(lanes_[worker], piece, plain);
    if (!written) return std::unexpected(std::move(written).error());
  }
  return {};
}

Result<void> StagePipeline::WriteSmall(Lane& lane, const Piece& piece, std::string_view plain) {
  const FileJob& job = jobs_[piece.job];
  std::lock_guard lock(lane.mutex);
  TRY(Open(lane));
  uint32_t tag = lane.next_tag++;
  TRY(Begin(lane, job, tag));
  TRY(Send(lane, tag, 0, plain));
  TRY(lane.writer->End(tag));
  on_written_(1, plain.size());
  return {};
}

// All pieces of a file take the same connection, whoever has loaded them.
Result<void> StagePipeline::WriteLarge(const Piece& piece, std::string_view plain) {
  const FileJob& job = jobs_[piece.job];
  Lane& lane = lanes_[piece.job % lanes_.size()];
  std::lock_guard lock(lane.mutex);
  TRY(Open(lane));
  auto [entry, first] = lane.open.try_emplace(piece.job, lane.next_tag);
  uint32_t tag = entry->second;
  if (first) {
    ++lane.next_tag;
    TRY(Begin(lane, job, tag));
  }
  TRY(Send(lane, tag, piece.offset, plain));
  bool last = --left_[piece.job] == 0;
  if (last) {
    lane.open.erase(entry);
    TRY(lane.writer->End(tag));
  }
  on_written_(last ? 1 : 0, plain.size());
  return {};
}

Result<void> StagePipeline::Begin(Lane& lane, const FileJob& job, uint32_t tag) {
  return lane.writer->File({.tag = tag, .path = job.staged, .size = job.size, .meta = job.meta});
}

Result<void> StagePipeline::Send(Lane& lane, uint32_t tag, uint64_t offset,
                                 std::string_view plain) {
  while (!plain.empty()) {
    size_t hole = 0;
    size_t bytes = BytesBeforeHole(plain, offset, hole);
    size_t skip = bytes + hole;
    for (size_t at = 0; at < bytes; at += kMaxSend) {
      std::string_view part = plain.substr(at, std::min(kMaxSend, bytes - at));
      TRY(lane.writer->Bytes(tag, offset + at, part));
    }
    offset += skip;
    plain.remove_prefix(skip);
  }
  return {};
}

}  // namespace atl::snapshot
