// SPDX-License-Identifier: Apache-2.0
#include "snapshot/reader.h"

#include <fmt/format.h>
#include <zstd.h>

#include <vector>

#include "async/mutex.h"
#include "crypto/sha256.h"

namespace atl::snapshot {
namespace {

constexpr size_t kPieceBytes = 1U << 20U;
// What level 3 uses is 21; a damaged header must not ask for more memory than this.
constexpr int kMaxWindowLog = 23;

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Reads, expands and verifies. One pool thread at a time uses it.
class Source {
 public:
  Source(Record record, blob::Download object)
      : record_(std::move(record)), object_(std::move(object)), context_(ZSTD_createDCtx()) {
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
    in_.resize(ZSTD_DStreamInSize());
  }

  const Meta& meta() const { return record_.meta; }

  // Fills `piece`; leaves it empty at the verified end.
  Result<void> Produce(std::vector<char>& piece) {
    piece.resize(kPieceBytes);
    size_t size = 0;
    while (size < kPieceBytes && !complete_) {
      if (at_ == end_) TRY(Fill());
      ZSTD_inBuffer in{.src = in_.data(), .size = end_, .pos = at_};
      ZSTD_outBuffer out{.dst = piece.data(), .size = kPieceBytes, .pos = size};
      size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(left) != 0) return Damaged(ZSTD_getErrorName(left));
      at_ = in.pos;
      size = out.pos;
      complete_ = left == 0;
    }
    piece.resize(size);
    bytes_ += size;
    if (bytes_ > record_.meta.bytes) return Damaged("it is longer than recorded");
    hash_.Update(std::string_view(piece.data(), size));
    // The last piece is given out only after all of them have been verified.
    if (complete_ && !verified_) TRY(Verify());
    return {};
  }

 private:
  Unexpected Damaged(std::string_view why) const {
    return Fail(Code::kInternal,
                fmt::format("snapshot {} is damaged: {}", record_.meta.snapshot_id, why),
                "BACKUP_RESTORE_FAILED");
  }

  Result<void> Fill() {
    ASSIGN(end_, object_.Read(in_));
    at_ = 0;
    stored_ += end_;
    if (end_ == 0) return Damaged("it is cut short");
    return {};
  }

  Result<void> Verify() {
    if (at_ != end_ || stored_ != record_.meta.stored) return Damaged("bytes follow its end");
    if (bytes_ != record_.meta.bytes) return Damaged("it is shorter than recorded");
    if (hash_.FinishHex() != record_.tar_sha256) return Damaged("its hash differs");
    verified_ = true;
    return {};
  }

  Record record_;
  blob::Download object_;
  std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
  crypto::Sha256 hash_;
  std::vector<char> in_;
  size_t at_ = 0;
  size_t end_ = 0;
  uint64_t stored_ = 0;
  uint64_t bytes_ = 0;
  bool complete_ = false;
  bool verified_ = false;
};

// The next piece is made while the caller works on the one it has.
class DirectoryReader : public Reader {
 public:
  DirectoryReader(async::Runtime& runtime, std::shared_ptr<Source> source)
      : pool_(runtime.blocking()), source_(std::move(source)) {}

  const Meta& meta() const override { return source_->meta(); }

  async::Task<Result<std::string_view>> Next() override {
    if (!job_) Start({});
    std::shared_ptr<Job> job = job_;
    co_await job->done.Wait();
    if (!job->done.is_set()) co_return Fail(Code::kCancelled, "the restore was cancelled");
    // A failure, and the end, stay what they are however often they are asked for.
    if (!job->result) co_return Unexpected(job->result.error());
    if (job->piece.empty()) co_return std::string_view();
    std::vector<char> spare = std::move(piece_);
    piece_ = std::move(job->piece);
    Start(std::move(spare));
    co_return std::string_view(piece_.data(), piece_.size());
  }

 private:
  struct Job {
    std::vector<char> piece;
    Result<void> result;
    async::Event done;
  };

  void Start(std::vector<char> buffer) {
    auto job = std::make_shared<Job>();
    job->piece = std::move(buffer);
    job_ = job;
    pool_.Post([job, source = source_] {
      job->result = source->Produce(job->piece);
      job->done.Set();
    });
  }

  async::BlockingPool& pool_;
  std::shared_ptr<Source> source_;
  std::vector<char> piece_;
  std::shared_ptr<Job> job_;
};

}  // namespace

std::unique_ptr<Reader> MakeReader(async::Runtime& runtime, Record record, blob::Download object) {
  auto source = std::make_shared<Source>(std::move(record), std::move(object));
  return std::make_unique<DirectoryReader>(runtime, std::move(source));
}

}  // namespace atl::snapshot
