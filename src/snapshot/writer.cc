// SPDX-License-Identifier: Apache-2.0
#include "snapshot/writer.h"

#include <fmt/format.h>
#include <zstd.h>

#include <chrono>
#include <optional>
#include <vector>

#include "async/mutex.h"
#include "crypto/sha256.h"
#include "snapshot/format.h"

namespace atl::snapshot {
namespace {

constexpr size_t kPieceBytes = 1U << 20U;
constexpr int kLevel = 3;
constexpr int kWorkers = 2;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

int64_t NowMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// Hashes, compresses and stores. One pool thread at a time uses it; the job in flight keeps it
// alive, so a writer that goes away meanwhile leaves a file only until the job has ended.
class Sink {
 public:
  Sink(blob::Directory directory, blob::Upload upload)
      : directory_(std::move(directory)), upload_(std::move(upload)), context_(ZSTD_createCCtx()) {
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
    // A library without threads refuses this one and compresses in the calling thread.
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers, kWorkers);
    out_.resize(ZSTD_CStreamOutSize());
  }

  Result<void> Add(std::string_view tar) {
    hash_.Update(tar);
    bytes_ += tar.size();
    return Compress(tar, ZSTD_e_continue);
  }

  Result<Meta> Commit(Meta meta) {
    TRY(Compress({}, ZSTD_e_end));
    Record record{.meta = std::move(meta), .object = NewObjectName()};
    record.meta.created_at_ms = NowMs();
    record.meta.bytes = bytes_;
    record.meta.stored = upload_.size();
    record.tar_sha256 = hash_.FinishHex();
    ASSIGN(std::string text, EncodeRecord(record));
    std::string object = ObjectFile(record.object);
    TRY(upload_.Commit(object));
    // The metadata makes the snapshot visible, so it comes last.
    Result<void> published = Publish(text, MetaFile(record.meta.snapshot_id));
    if (!published) {
      (void)directory_.Remove(object);
      return Unexpected(std::move(published).error());
    }
    return std::move(record.meta);
  }

 private:
  Result<void> Compress(std::string_view tar, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{.src = tar.data(), .size = tar.size(), .pos = 0};
    while (true) {
      ZSTD_outBuffer out{.dst = out_.data(), .size = out_.size(), .pos = 0};
      size_t left = ZSTD_compressStream2(context_.get(), &out, &in, directive);
      if (ZSTD_isError(left) != 0) {
        return Fail(Code::kInternal,
                    fmt::format("compress a snapshot: {}", ZSTD_getErrorName(left)));
      }
      if (out.pos > 0) TRY(upload_.Write(std::string_view(out_.data(), out.pos)));
      bool done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
      if (done) return {};
    }
  }

  Result<void> Publish(const std::string& text, const std::string& name) {
    ASSIGN(blob::Upload upload, directory_.Put());
    TRY(upload.Write(text));
    return upload.Commit(name);
  }

  blob::Directory directory_;
  blob::Upload upload_;
  std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
  crypto::Sha256 hash_;
  std::vector<char> out_;
  uint64_t bytes_ = 0;
};

// Gathers a piece while the one before it is compressed and written.
class DirectoryWriter : public Writer {
 public:
  DirectoryWriter(async::Runtime& runtime, std::shared_ptr<Sink> sink)
      : pool_(runtime.blocking()), sink_(std::move(sink)) {
    piece_.reserve(kPieceBytes);
  }
  ~DirectoryWriter() override {
    // Removing a large file takes a while: not on the event loop.
    pool_.Post([sink = std::move(sink_)] {});
  }

  async::Task<Result<void>> Write(std::string_view tar) override {
    while (!tar.empty()) {
      size_t count = std::min(tar.size(), kPieceBytes - piece_.size());
      piece_.append(tar.substr(0, count));
      tar.remove_prefix(count);
      if (piece_.size() < kPieceBytes) continue;
      CO_TRY(co_await Flush());
    }
    co_return Result<void>();
  }

  async::Task<Result<Meta>> Commit(Meta meta) override {
    CO_TRY(co_await Flush());
    CO_TRY(co_await Settle());
    auto commit = [sink = sink_, &meta] { return sink->Commit(std::move(meta)); };
    Result<Meta> committed = co_await pool_.Run(std::move(commit));
    co_return committed;
  }

 private:
  struct Job {
    std::string piece;
    Result<void> result;
    async::Event done;
  };

  // Hands the piece over once the one before it is through.
  async::Task<Result<void>> Flush() {
    CO_TRY(co_await Settle());
    auto job = std::make_shared<Job>();
    job->piece.swap(piece_);
    piece_.swap(spare_);
    piece_.clear();
    piece_.reserve(kPieceBytes);
    job_ = job;
    pool_.Post([job, sink = sink_] {
      job->result = sink->Add(job->piece);
      job->done.Set();
    });
    co_return Result<void>();
  }

  // Waits for the job in flight; a failure is final.
  async::Task<Result<void>> Settle() {
    if (!job_) co_return Result<void>();
    std::shared_ptr<Job> job = job_;
    co_await job->done.Wait();
    if (!job->done.is_set()) co_return Fail(Code::kCancelled, "the snapshot was cancelled");
    if (!job->result) co_return job->result;
    spare_.swap(job->piece);
    job_.reset();
    co_return Result<void>();
  }

  async::BlockingPool& pool_;
  std::shared_ptr<Sink> sink_;
  std::string piece_;
  std::string spare_;
  std::shared_ptr<Job> job_;
};

}  // namespace

std::unique_ptr<Writer> MakeWriter(async::Runtime& runtime, blob::Directory directory,
                                   blob::Upload upload) {
  auto sink = std::make_shared<Sink>(std::move(directory), std::move(upload));
  return std::make_unique<DirectoryWriter>(runtime, std::move(sink));
}

}  // namespace atl::snapshot
