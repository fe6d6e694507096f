// SPDX-License-Identifier: Apache-2.0
// Brings the content of files from packs into a stage: in the order of packs, in large reads, on
// all cores, each blob verified before any of it is sent.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "protocol/tree.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"

namespace atl::snapshot {

struct FileJob {
  std::string staged;  // its path in the stage
  std::string path;    // where it will be, for messages
  uint64_t size = 0;
  protocol::EntryMeta meta;
  std::vector<repository::Id> content;
};

class StagePipeline {
 public:
  // `on_written` is told of files and bytes, from any thread.
  StagePipeline(repository::Repository& repository, Stage& stage, int workers, std::stop_token stop,
                std::function<void(uint64_t files, uint64_t bytes)> on_written);

  void Add(FileJob job);
  // Enough has been added: Run.
  bool full() const;
  bool empty() const { return jobs_.empty(); }
  // Writes what was added; the directories must be there.
  Result<void> Run();
  // All that was written is in the stage.
  Result<void> Finish();

 private:
  // A blob and where it goes.
  struct Piece {
    uint32_t job = 0;
    uint32_t pack = 0;
    uint64_t offset = 0;  // in the file
    repository::PackedBlob blob;
  };
  // Pieces that one worker loads: of many small files, or of one large.
  struct Unit {
    size_t begin = 0;
    size_t end = 0;
    bool large = false;
  };
  // A connection: its writer and the files that are open on it.
  struct Lane {
    std::mutex mutex;
    std::unique_ptr<StageWriter> writer;
    uint32_t next_tag = 0;
    std::unordered_map<uint32_t, uint32_t> open;  // job -> tag
  };

  Result<void> Resolve();
  Result<void> ResolveJob(uint32_t job, std::vector<Piece>& small);
  void CutLarge(uint32_t job, size_t begin);
  void CutSmall(std::vector<Piece> small);
  uint32_t PackNumber(const repository::Id& pack);

  Result<void> Work(size_t worker, const std::stop_token& stop);
  Result<void> WriteEmpty(size_t worker, size_t begin, size_t end);
  Result<void> WriteUnit(size_t worker, const Unit& unit, const std::stop_token& stop);
  Result<void> WriteRead(size_t worker, size_t begin, size_t end, bool large,
                         const std::stop_token& stop);
  Result<void> WriteSmall(Lane& lane, const Piece& piece, std::string_view plain);
  Result<void> WriteLarge(const Piece& piece, std::string_view plain);
  Result<void> Begin(Lane& lane, const FileJob& job, uint32_t tag);
  Result<void> Send(Lane& lane, uint32_t tag, uint64_t offset, std::string_view plain);
  Result<void> Open(Lane& lane);

  repository::Repository& repository_;
  Stage& stage_;
  std::stop_token stop_;
  std::function<void(uint64_t, uint64_t)> on_written_;
  bool remote_;
  uint64_t read_bytes_;
  std::vector<Lane> lanes_;

  std::vector<FileJob> jobs_;
  size_t blobs_ = 0;
  std::vector<uint32_t> empty_;  // jobs of which nothing has to be sent
  std::vector<Piece> pieces_;
  std::vector<Unit> units_;
  std::vector<uint32_t> left_;  // pieces of large jobs that are not written yet; under their lane
  std::vector<repository::Id> packs_;
  std::vector<uint64_t> pack_bytes_;  // that are needed
  std::unordered_map<repository::Id, uint32_t, repository::IdHash> pack_numbers_;
  std::atomic<size_t> next_ = 0;
};

}  // namespace atl::snapshot
