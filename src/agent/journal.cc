// SPDX-License-Identifier: Apache-2.0
#include "agent/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace atl::agent {
namespace {

constexpr std::string_view kMagic = "atoll journal 1\n";
constexpr uint32_t kEndMark = 0xffffffff;
constexpr uint32_t kMaxEntryBytes = 2U << 20U;
constexpr size_t kBufferBytes = 256U << 10U;
constexpr uint64_t kFnvBasis = 0xcbf29ce484222325;
constexpr uint64_t kFnvPrime = 0x100000001b3;
constexpr size_t kEndBytes = 2 * sizeof(uint64_t);

// Against a file that was torn; nobody is kept out by it.
uint64_t Mix(uint64_t checksum, std::string_view bytes) {
  if (checksum == 0) checksum = kFnvBasis;
  for (char byte : bytes) checksum = (checksum ^ static_cast<unsigned char>(byte)) * kFnvPrime;
  return checksum;
}

template <class T>
std::string_view AsBytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

template <class T>
T FromBytes(std::string_view bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

}  // namespace

Result<JournalWriter> JournalWriter::Create(int staging) {
  ASSIGN(sys::Fd file,
         sys::OpenAt(staging, kJournalName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  JournalWriter writer(std::move(file));
  TRY(writer.Write(kMagic));
  return writer;
}

Result<void> JournalWriter::Flush() {
  auto written = sys::WriteAll(file_.get(), buffer_);
  if (!written) return Unexpected(std::move(written).error().Wrap("the restore's journal"));
  buffer_.clear();
  return {};
}

Result<void> JournalWriter::Write(std::string_view bytes) {
  buffer_ += bytes;
  return buffer_.size() >= kBufferBytes ? Flush() : Result<void>();
}

Result<void> JournalWriter::Add(const JournalEntry& entry) {
  if (count_ >= kMaxJournalEntries) return Fail(Code::kTooLarge, "too many changes at once");
  protocol::Writer writer;
  writer(entry);
  std::string payload = std::move(writer).Take();
  if (payload.size() > kMaxEntryBytes) return Fail(Code::kTooLarge, "a change is too large");
  ++count_;
  checksum_ = Mix(checksum_, payload);
  TRY(Write(AsBytes(static_cast<uint32_t>(payload.size()))));
  return Write(payload);
}

Result<void> JournalWriter::Finish() {
  TRY(Write(AsBytes(kEndMark)));
  TRY(Write(AsBytes(count_)));
  TRY(Write(AsBytes(checksum_)));
  TRY(Flush());
  if (fdatasync(file_.get()) != 0) return FailErrno(errno, "write the restore's journal");
  return {};
}

Result<JournalReader> JournalReader::Open(int staging) {
  ASSIGN(sys::Fd file,
         sys::OpenAt(staging, kJournalName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (fstat(file.get(), &info) != 0) return FailErrno(errno, "stat the restore's journal");
  if (!S_ISREG(info.st_mode)) return Fail(Code::kInternal, "the restore's journal is none");
  return JournalReader(std::move(file));
}

void JournalReader::Rewind() {
  buffer_.clear();
  at_ = 0;
  offset_ = 0;
  count_ = 0;
  checksum_ = 0;
  end_seen_ = false;
}

// False: the file ends before.
Result<bool> JournalReader::Need(size_t bytes) {
  while (buffer_.size() - at_ < bytes) {
    buffer_.erase(0, at_);
    at_ = 0;
    size_t have = buffer_.size();
    buffer_.resize(std::max(kBufferBytes, bytes));
    ssize_t count = pread(file_.get(), buffer_.data() + have, buffer_.size() - have,
                          static_cast<off_t>(offset_));
    int error = errno;
    buffer_.resize(have + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count < 0) return FailErrno(error, "read a restore's journal");
    if (count == 0) return false;
    offset_ += static_cast<uint64_t>(count);
  }
  return true;
}

Result<std::optional<std::string_view>> JournalReader::NextPayload() {
  Unexpected torn = Fail(Code::kInternal, "the restore's journal is torn");
  if (end_seen_) return std::nullopt;
  if (offset_ == 0) {
    ASSIGN(bool there, Need(kMagic.size()));
    if (!there || !std::string_view(buffer_).starts_with(kMagic)) return torn;
    at_ = kMagic.size();
  }
  ASSIGN(bool there, Need(sizeof(uint32_t)));
  if (!there) return torn;
  auto size = FromBytes<uint32_t>(std::string_view(buffer_).substr(at_));
  at_ += sizeof(size);
  if (size == kEndMark) {
    end_seen_ = true;
    ASSIGN(bool whole, Need(kEndBytes));
    std::string_view end = std::string_view(buffer_).substr(at_);
    if (!whole || FromBytes<uint64_t>(end) != count_ ||
        FromBytes<uint64_t>(end.substr(sizeof(uint64_t))) != checksum_) {
      return torn;
    }
    return std::nullopt;
  }
  // A program of the sandbox may have made the file, of any length and of nothing.
  if (size == 0 || size > kMaxEntryBytes || count_ >= kMaxJournalEntries) return torn;
  ASSIGN(bool complete, Need(size));
  if (!complete) return torn;
  std::string_view payload = std::string_view(buffer_).substr(at_, size);
  at_ += size;
  ++count_;
  checksum_ = Mix(checksum_, payload);
  return payload;
}

Result<bool> JournalReader::IsWhole() {
  Rewind();
  while (true) {
    auto payload = NextPayload();
    if (!payload) {
      if (payload.error().sys_errno != 0) return Unexpected(std::move(payload).error());
      return false;
    }
    if (!*payload) break;
  }
  Rewind();
  return true;
}

Result<std::optional<JournalEntry>> JournalReader::Next() {
  ASSIGN(auto payload, NextPayload());
  if (!payload) return std::nullopt;
  protocol::Reader reader(*payload);
  JournalEntry entry;
  reader(entry);
  TRY(reader.Finish());
  // A program of the sandbox may have written the file.
  const protocol::Change& change = entry.change;
  bool itself = change.kind == protocol::ChangeKind::kMeta && change.path.empty();
  bool staged = change.kind == protocol::ChangeKind::kPut;
  if ((!itself && !protocol::IsTreePath(change.path)) ||
      (staged && !protocol::IsTreePath(change.staged))) {
    return Fail(Code::kInvalidArgument, "the restore's journal holds an unusable path");
  }
  return entry;
}

}  // namespace atl::agent
