// SPDX-License-Identifier: Apache-2.0
// Content of files. For a regular file on a disk or in memory the agent passes a descriptor, and
// reads and writes are this process's own, in a pool. The agent is not believed: what it passes is
// used only if it is such a file.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "sandbox/file_request.h"
#include "sandbox/files.h"
#include "sys/file_error.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr size_t kPieceBytes = 1U << 20U;

Error GoneMeanwhile() {
  return Error{.code = Code::kUnavailable,
               .message = "the sandbox ended meanwhile",
               .reason = "CONTAINER_UNAVAILABLE"};
}

// The size of what the agent passed, if it is a regular file that never keeps anybody waiting, open
// in the way that was asked for.
Result<uint64_t> CheckPassed(int fd, bool for_writing) {
  int flags = ::fcntl(fd, F_GETFL);
  struct stat st{};
  if (flags < 0 || ::fstat(fd, &st) != 0) return FailErrno(errno, "look at the passed descriptor");
  int access = flags & O_ACCMODE;
  bool fits = access == O_RDWR || access == (for_writing ? O_WRONLY : O_RDONLY);
  sys::PlainFile plain = sys::PlainFileOf(fd);
  // In memory a write would count as the daemon's own.
  bool allowed =
      plain == sys::PlainFile::kDisk || (plain == sys::PlainFile::kMemory && !for_writing);
  if (!fits || !allowed || (flags & O_PATH) != 0) {
    return Fail(Code::kInternal, "the agent passed a descriptor that is no file");
  }
  return static_cast<uint64_t>(st.st_size);
}

// The descriptor that was announced, or none.
Result<sys::Fd> TakePassed(AgentConnection& connection, bool announced) {
  sys::Fd fd = connection.TakeDescriptor();
  if (fd && !announced) return Fail(Code::kInternal, "the agent passed an unannounced descriptor");
  if (!fd && announced) return Fail(Code::kInternal, "the agent passed no descriptor");
  return fd;
}

class DescriptorReader : public FileReader {
 public:
  DescriptorReader(std::unique_ptr<AgentConnection> connection, async::BlockingPool& pool,
                   FileInfo info, sys::Fd fd)
      : connection_(std::move(connection)),
        pool_(pool),
        info_(std::move(info)),
        fd_(std::move(fd)),
        end_(info_.size) {}

  const FileInfo& info() const override { return info_; }
  bool sized() const override { return true; }
  void SetRange(uint64_t offset, uint64_t length) override {
    at_ = std::min(offset, info_.size);
    end_ = at_ + std::min(length, info_.size - at_);
  }

  async::Task<Result<std::string>> Peek(size_t size) override {
    std::string bytes(std::min<uint64_t>(size, info_.size), '\0');
    CO_ASSIGN(size_t count, co_await ReadAt(bytes.data(), bytes.size(), 0));
    bytes.resize(count);
    co_return bytes;
  }

  async::Task<Result<std::string_view>> Next() override {
    size_t wanted = std::min<uint64_t>(end_ - at_, kPieceBytes);
    if (wanted == 0) co_return std::string_view();
    // A sandbox that is gone is not kept by who reads its files.
    if (connection_->HungUp()) co_return Unexpected(GoneMeanwhile());
    if (piece_.size() < wanted) piece_.resize(wanted);
    CO_ASSIGN(size_t count, co_await ReadAt(piece_.data(), wanted, at_));
    if (count == 0) {
      co_return Fail(Code::kFailedPrecondition, "the file became shorter while it was read",
                     "OPERATION_INTERRUPTED");
    }
    at_ += count;
    co_return std::string_view(piece_.data(), count);
  }

 private:
  async::Task<Result<size_t>> ReadAt(char* out, size_t size, uint64_t offset) {
    auto read = [fd = fd_.get(), out, size, offset]() -> Result<size_t> {
      while (true) {
        ssize_t count = ::pread(fd, out, size, static_cast<off_t>(offset));
        if (count >= 0) return static_cast<size_t>(count);
        if (errno != EINTR) return sys::FailFile(errno, "read the file");
      }
    };
    Result<size_t> count = co_await pool_.Run(std::move(read));
    co_return count;
  }

  std::unique_ptr<AgentConnection> connection_;
  async::BlockingPool& pool_;
  FileInfo info_;
  sys::Fd fd_;
  std::vector<char> piece_;
  uint64_t at_ = 0;
  uint64_t end_ = 0;
};

class FrameReader : public FileReader {
 public:
  FrameReader(std::unique_ptr<AgentConnection> connection, FileInfo info)
      : connection_(std::move(connection)), info_(std::move(info)) {}

  const FileInfo& info() const override { return info_; }
  bool sized() const override { return false; }
  void SetRange(uint64_t offset, uint64_t length) override {
    skip_ = offset;
    left_ = length;
  }
  async::Task<Result<std::string>> Peek(size_t /*size*/) override { co_return std::string(); }

  async::Task<Result<std::string_view>> Next() override {
    while (!ended_ && left_ > 0) {
      CO_ASSIGN(protocol::Frame frame, co_await connection_->Next());
      if (frame.type != FrameType::kFileData) {
        CO_TRY(ExpectFileReply<protocol::End>(frame));
        ended_ = true;
        break;
      }
      std::string_view piece = frame.payload;
      size_t skipped = std::min<uint64_t>(skip_, piece.size());
      skip_ -= skipped;
      piece.remove_prefix(skipped);
      piece = piece.substr(0, std::min<uint64_t>(left_, piece.size()));
      left_ -= piece.size();
      if (!piece.empty()) co_return piece;
    }
    co_return std::string_view();
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  FileInfo info_;
  uint64_t skip_ = 0;
  uint64_t left_ = UINT64_MAX;
  bool ended_ = false;
};

class AgentFileWriter : public FileWriter {
 public:
  AgentFileWriter(std::unique_ptr<AgentConnection> connection, async::BlockingPool& pool,
                  bool existed, sys::Fd fd)
      : connection_(std::move(connection)), pool_(pool), existed_(existed), fd_(std::move(fd)) {}

  bool existed() const override { return existed_; }

  async::Task<Result<void>> Write(std::string_view bytes) override {
    if (!fd_) {
      Result<void> sent = co_await connection_->SendData(FrameType::kFileData, bytes);
      if (sent) co_return sent;
      // The agent says why before it closes.
      CO_ASSIGN(protocol::Frame frame, co_await connection_->NextWithin(kFileLimit));
      CO_TRY(ExpectFileReply<FileInfo>(frame));
      co_return sent;
    }
    if (connection_->HungUp()) co_return Unexpected(GoneMeanwhile());
    auto write = [fd = fd_.get(), bytes]() -> Result<void> {
      Result<void> done = sys::WriteAll(fd, bytes);
      if (!done) return sys::FailFile(done.error().sys_errno, "write the file");
      return done;
    };
    Result<void> written = co_await pool_.Run(std::move(write));
    co_return written;
  }

  async::Task<Result<FileInfo>> Commit() override {
    // The agent may open it for programs that must not find it open for writing.
    fd_.Reset();
    CO_TRY(co_await connection_->SendEmpty(FrameType::kFileCommit));
    CO_ASSIGN(protocol::Frame frame, co_await connection_->NextWithin(kFileLimit));
    co_return ExpectFileReply<FileInfo>(frame);
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  async::BlockingPool& pool_;
  bool existed_;
  sys::Fd fd_;
};

}  // namespace

async::Task<Result<std::unique_ptr<FileReader>>> OpenFile(AgentClient& agent,
                                                          async::BlockingPool& pool,
                                                          ReadFile request) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  CO_ASSIGN(auto connection, co_await BeginFileRequest(agent.socket_path(), request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kFileLimit));
  CO_ASSIGN(auto opened, ExpectFileReply<protocol::FileOpened>(frame));
  CO_ASSIGN(sys::Fd fd, TakePassed(*connection, opened.descriptor));
  if (!fd) co_return std::make_unique<FrameReader>(std::move(connection), std::move(opened.info));
  CO_ASSIGN(opened.info.size, CheckPassed(fd.get(), false));
  co_return std::make_unique<DescriptorReader>(std::move(connection), pool, std::move(opened.info),
                                               std::move(fd));
}

async::Task<Result<std::unique_ptr<FileWriter>>> CreateFile(AgentClient& agent,
                                                            async::BlockingPool& pool,
                                                            WriteFile request, std::string owner) {
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  Result<std::unique_ptr<AgentConnection>> begun;
  if (owner.empty()) {
    begun = co_await BeginFileRequest(agent.socket_path(), request);
  } else {
    protocol::WriteOwnedFile owned{.file = std::move(request), .owner = std::move(owner)};
    begun = co_await BeginFileRequest(agent.socket_path(), owned);
  }
  CO_ASSIGN(auto connection, std::move(begun));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kFileLimit));
  CO_ASSIGN(auto opened, ExpectFileReply<protocol::FileOpened>(frame));
  CO_ASSIGN(sys::Fd fd, TakePassed(*connection, opened.descriptor));
  if (fd) {
    CO_TRY(CheckPassed(fd.get(), true));
  }
  co_return std::make_unique<AgentFileWriter>(std::move(connection), pool, opened.existed,
                                              std::move(fd));
}

async::Task<Result<FileContent>> ReadWholeFile(AgentClient& agent, async::BlockingPool& pool,
                                               ReadFile request, size_t limit) {
  CO_ASSIGN(auto reader, co_await OpenFile(agent, pool, std::move(request)));
  FileContent content{.info = reader->info()};
  auto too_large = [&] {
    return Fail(Code::kTooLarge, "the file has more than " + std::to_string(limit) + " bytes",
                "FILE_TOO_LARGE");
  };
  if (reader->sized() && content.info.size > limit) co_return too_large();
  if (reader->sized()) content.bytes.reserve(content.info.size);
  while (true) {
    CO_ASSIGN(std::string_view piece, co_await reader->Next());
    if (piece.empty()) co_return content;
    if (piece.size() > limit - content.bytes.size()) co_return too_large();
    content.bytes += piece;
  }
}

async::Task<Result<FileInfo>> WriteWholeFile(AgentClient& agent, async::BlockingPool& pool,
                                             WriteFile request, std::string_view bytes) {
  CO_ASSIGN(auto writer, co_await CreateFile(agent, pool, std::move(request)));
  if (!bytes.empty()) {
    CO_TRY(co_await writer->Write(bytes));
  }
  Result<FileInfo> info = co_await writer->Commit();
  co_return info;
}

}  // namespace atl::sandbox
