// SPDX-License-Identifier: Apache-2.0
#include "sandbox/archives.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "protocol/exec.h"
#include "repository/compression.h"
#include "sandbox/agent_request.h"
#include "sandbox/file_request.h"
#include "sandbox/files.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";
constexpr std::string_view kGzipMagic = "\x1f\x8b";
// A byte of zstd can stand for 30,000: this much makes at most 32 MiB.
constexpr size_t kCompressedPiece = 1U << 10U;
// Of a compressed archive that nobody has said a limit for. What people compress becomes a tenth,
// logs a thirtieth.
constexpr uint64_t kUsualUnpacked = 512ULL << 20U;
constexpr uint64_t kUsualRatio = 100;

Unexpected InvalidArchive(std::string why) {
  return Fail(Code::kInvalidArgument, "the archive is refused: " + std::move(why),
              "INVALID_ARCHIVE");
}

ArchiveTotals ToTotals(const protocol::End& end) {
  return {.entries = end.files, .bytes = end.bytes, .skipped = end.skipped};
}

// An agent that does not know "./" before a glob would pack what is to be left out. Those that do
// know SessionUse, too, and refuse one that has no id.
async::Task<Result<void>> CheckTakesDots(AgentClient& agent) {
  protocol::SessionUse probe;
  auto answer = co_await AskAgent<protocol::SessionInfo>(agent.socket_path(), probe);
  if (answer || answer.error().reason == "VALIDATION_FAILED") co_return Result<void>();
  co_return Unexpected(std::move(answer).error());
}

class AgentArchiveReader : public ArchiveReader {
 public:
  AgentArchiveReader(std::unique_ptr<AgentConnection> connection, async::BlockingPool& pool,
                     bool compress)
      : connection_(std::move(connection)), pool_(pool) {
    if (compress) compressor_.emplace();
  }

  const ArchiveTotals& totals() const override { return totals_; }

  async::Task<Result<std::string_view>> Next() override {
    while (!ended_) {
      CO_ASSIGN(protocol::Frame frame, co_await connection_->Next());
      if (frame.type != FrameType::kFileData) {
        CO_ASSIGN(auto end, ExpectFileReply<protocol::End>(frame));
        totals_ = ToTotals(end);
        ended_ = true;
      } else if (!compressor_) {
        if (!frame.payload.empty()) co_return frame.payload;
        continue;
      }
      if (!compressor_) break;
      compressed_.clear();
      auto compress = [this, piece = frame.payload] {
        if (ended_) {
          compressor_->Finish(compressed_);
        } else {
          compressor_->Append(piece, compressed_);
        }
      };
      co_await pool_.Run(std::move(compress));
      if (!compressed_.empty()) co_return std::string_view(compressed_);
    }
    co_return std::string_view();
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  async::BlockingPool& pool_;
  std::optional<repository::StreamCompressor> compressor_;
  std::string compressed_;
  ArchiveTotals totals_;
  bool ended_ = false;
};

class AgentArchiveWriter : public ArchiveWriter {
 public:
  AgentArchiveWriter(std::unique_ptr<AgentConnection> connection, async::BlockingPool& pool,
                     bool bounded)
      : connection_(std::move(connection)), pool_(pool), bounded_(bounded) {}

  async::Task<Result<void>> Write(std::string_view bytes) override {
    std::string joined;
    if (!begun_) {
      begin_ += bytes;
      if (begin_.size() < kZstdMagic.size()) co_return Result<void>();
      CO_TRY(Begin());
      joined = std::exchange(begin_, std::string());
      bytes = joined;
    }
    Result<void> written = co_await Pass(bytes);
    co_return written;
  }

  async::Task<Result<ArchiveTotals>> Finish() override {
    if (!begun_) {
      if (begin_.empty()) co_return InvalidArchive("it is empty");
      co_return InvalidArchive("it is cut short");
    }
    if (decompressor_) {
      Result<void> ended = decompressor_->Finish();
      if (!ended) co_return InvalidArchive("its compressed content is cut short");
    }
    Result<void> sent = co_await connection_->SendEmpty(FrameType::kFileCommit);
    Result<protocol::Frame> frame = co_await connection_->NextWithin(kTreeLimit);
    if (!frame) co_return Unexpected(std::move(frame).error());
    CO_ASSIGN(auto end, ExpectFileReply<protocol::End>(*frame));
    CO_TRY(std::move(sent));
    co_return ToTotals(end);
  }

 private:
  Result<void> Begin() {
    begun_ = true;
    if (begin_.starts_with(kGzipMagic)) {
      return InvalidArchive("gzip is not taken: send a tar, plain or compressed by zstd");
    }
    if (begin_.starts_with(kZstdMagic)) {
      decompressor_.emplace([this](std::string_view piece) -> Result<void> {
        plain_ += piece;
        return {};
      });
    }
    return {};
  }

  async::Task<Result<void>> Pass(std::string_view bytes) {
    while (!bytes.empty()) {
      std::string_view piece = bytes;
      if (decompressor_) {
        piece = bytes.substr(0, kCompressedPiece);
        bytes.remove_prefix(piece.size());
        plain_.clear();
        auto decompress = [this, piece] { return decompressor_->Append(piece); };
        Result<void> done = co_await pool_.Run(std::move(decompress));
        if (!done) co_return InvalidArchive("its compressed content is damaged");
        taken_ += piece.size();
        unpacked_ += plain_.size();
        if (!bounded_ && unpacked_ > kUsualUnpacked + kUsualRatio * taken_) {
          co_return Fail(Code::kTooLarge,
                         "the archive becomes more than a hundred times of what was sent: say how "
                         "much it may become",
                         "FILE_TOO_LARGE");
        }
        piece = plain_;
      } else {
        bytes = {};
      }
      Result<void> sent = co_await Send(piece);
      if (!sent) co_return sent;
    }
    co_return Result<void>();
  }

  // The agent says what is wrong with an archive before it leaves.
  async::Task<Result<void>> Send(std::string_view plain) {
    Result<void> sent = co_await connection_->SendData(FrameType::kFileData, plain);
    if (sent && !connection_->HungUp()) co_return sent;
    CO_ASSIGN(protocol::Frame frame, co_await connection_->NextWithin(kFileLimit));
    CO_TRY(ExpectFileReply<protocol::End>(frame));
    co_return Fail(Code::kInternal, "the agent ended an archive before its end");
  }

  std::unique_ptr<AgentConnection> connection_;
  async::BlockingPool& pool_;
  bool bounded_;  // the agent has a limit
  uint64_t taken_ = 0;
  uint64_t unpacked_ = 0;
  bool begun_ = false;
  std::string begin_;  // until the format is known
  std::optional<repository::StreamDecompressor> decompressor_;
  std::string plain_;
};

}  // namespace

async::Task<Result<std::unique_ptr<ArchiveReader>>> Pack(AgentClient& agent,
                                                         async::BlockingPool& pool,
                                                         PackFiles request, ArchiveFormat format) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  bool dotted = std::ranges::any_of(request.exclude,
                                    [](std::string_view glob) { return glob.starts_with("./"); });
  if (dotted) {
    CO_TRY(co_await CheckTakesDots(agent));
  }
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  co_return std::make_unique<AgentArchiveReader>(std::move(connection), pool,
                                                 format == ArchiveFormat::kTarZstd);
}

async::Task<Result<std::unique_ptr<ArchiveWriter>>> Unpack(AgentClient& agent,
                                                           async::BlockingPool& pool,
                                                           UnpackFiles request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  bool bounded = request.max_bytes != UINT64_MAX;
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kFileLimit));
  CO_TRY(ExpectFileReply<protocol::Ok>(frame));
  co_return std::make_unique<AgentArchiveWriter>(std::move(connection), pool, bounded);
}

}  // namespace atl::sandbox
