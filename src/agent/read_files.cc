// SPDX-License-Identifier: Apache-2.0
#include "agent/read_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <variant>

#include "agent/entry_stat.h"
#include "agent/target_dir.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

// A frame is sent once it holds this much.
constexpr size_t kFrameBytes = 512U << 10U;
static_assert(kFrameBytes <= protocol::kMaxDataBytes);
// What a file is not begun with less of, nor a piece of one.
constexpr size_t kLeastRoom = 32U << 10U;
// A client that asks for more without reading the answers has lost its way.
constexpr size_t kMaxWaiting = 65'536;
constexpr size_t kMaxWaitingBytes = 32U << 20U;

// Requests that wait.
class Wishes {
 public:
  explicit Wishes(ClientLink* link) : link_(link) {}

  // Takes what has come.
  Result<void> Receive() {
    TRY(link_->Receive());
    return TakeBuffered();
  }
  Result<void> TakeBuffered() {
    while (true) {
      ASSIGN(auto frame, link_->Buffered());
      if (!frame) return {};
      TRY(Take(*frame));
    }
  }
  Result<void> Wait() {
    ASSIGN(auto frame, link_->Next());
    return Take(frame);
  }

  bool empty() const { return waiting_.empty(); }
  bool ended() const { return ended_; }
  protocol::WantFile Pop() {
    protocol::WantFile first = std::move(waiting_.front());
    waiting_.pop_front();
    bytes_ -= first.path.size();
    return first;
  }

 private:
  Result<void> Take(const protocol::Frame& frame) {
    if (ended_) return Fail(Code::kInvalidArgument, "a frame behind the last request");
    if (frame.type == FrameType::kTreeEnd) ended_ = true;
    if (ended_) return {};
    if (frame.type != FrameType::kTree) {
      return Fail(Code::kInvalidArgument, "a frame of another kind between requests for files");
    }
    protocol::RecordReader reader(frame.payload);
    while (true) {
      ASSIGN(auto record, reader.Next());
      if (!record) return {};
      auto* want = std::get_if<protocol::WantFile>(&*record);
      if (want == nullptr) return Fail(Code::kInvalidArgument, "a record that asks for no file");
      bytes_ += want->path.size();
      waiting_.push_back(std::move(*want));
      if (waiting_.size() > kMaxWaiting || bytes_ > kMaxWaitingBytes) {
        return Fail(Code::kResourceExhausted, "too many requests for files are unanswered");
      }
    }
  }

  ClientLink* link_;
  std::deque<protocol::WantFile> waiting_;
  size_t bytes_ = 0;
  bool ended_ = false;
};

// The frame that is being filled. File content is read straight into it.
class FrameBuffer {
 public:
  FrameBuffer(ClientLink* link, Wishes* wishes)
      : link_(link),
        buffer_(std::make_unique_for_overwrite<char[]>(protocol::kHeaderBytes +
                                                       protocol::kMaxDataBytes)),
        on_input_([wishes] { return wishes->Receive(); }) {}

  // How much may be added before the frame is sent.
  size_t room() const { return kFrameBytes - std::min(kFrameBytes, used_); }

  template <class R>
  Result<void> Add(const R& record) {
    records_.Clear();
    records_.Add(record);
    std::string_view bytes = records_.payload();
    // A file's attributes may take more than is left of a frame.
    if (protocol::kMaxDataBytes - used_ < bytes.size()) TRY(Flush());
    std::memcpy(payload() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
    return {};
  }

  // One pread of at most `size` bytes as a FileBytes record; what it returned, or -errno.
  Result<ssize_t> AddFrom(int fd, uint32_t tag, uint64_t offset, uint64_t size) {
    if (room() < std::min<uint64_t>(size, kLeastRoom) + kBytesHeader) TRY(Flush());
    size_t wanted = std::min<uint64_t>(size, room() - kBytesHeader);
    char* at = payload() + used_;
    ssize_t count = 0;
    do {
      count = pread(fd, at + kBytesHeader, wanted, static_cast<off_t>(offset));
    } while (count < 0 && errno == EINTR);
    if (count < 0) return -errno;
    if (count == 0) return 0;
    // The record's fields as AddBytes writes them.
    protocol::Writer header;
    header.U8(protocol::FileBytes::kKind);
    header.U32(tag);
    header.U64(offset);
    header.U32(static_cast<uint32_t>(count));
    std::string fields = std::move(header).Take();
    std::memcpy(at, fields.data(), kBytesHeader);
    used_ += kBytesHeader + static_cast<size_t>(count);
    return count;
  }

  Result<void> FlushIfFull() { return room() < kLeastRoom ? Flush() : Result<void>(); }
  Result<void> Flush() {
    if (used_ == 0) return {};
    protocol::Header header = protocol::EncodeHeader(FrameType::kTree, used_);
    std::memcpy(buffer_.get(), header.data(), header.size());
    TRY(link_->SendFrame({buffer_.get(), protocol::kHeaderBytes + used_}, on_input_));
    used_ = 0;
    return {};
  }

 private:
  static constexpr size_t kBytesHeader = 1 + 4 + 8 + 4;
  char* payload() { return buffer_.get() + protocol::kHeaderBytes; }

  ClientLink* link_;
  std::unique_ptr<char[]> buffer_;
  size_t used_ = 0;
  protocol::RecordWriter records_;
  ClientLink::OnInput on_input_;
};

bool Stat(int fd, struct statx* st) {
  return statx(fd, "", AT_EMPTY_PATH, kEntryStatMask, st) == 0;
}

bool SameTime(const statx_timestamp& a, const statx_timestamp& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// A descriptor or -errno. Nothing outside of the directory is opened, whatever the path has become.
int OpenFile(int root, const char* path) {
  constexpr int kRounds = 100;
  open_how how{};
  how.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  for (int round = 0; round < kRounds; ++round) {
    auto fd = static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof(how)));
    if (fd >= 0) return fd;
    if (errno == EPERM && (how.flags & O_NOATIME) != 0) {
      how.flags &= ~static_cast<uint64_t>(O_NOATIME);
    } else if (errno != EINTR && errno != EAGAIN) {
      return -errno;
    }
  }
  return -EAGAIN;
}

class FileSender {
 public:
  FileSender(sys::Fd root, ClientLink* link)
      : root_(std::move(root)), link_(link), wishes_(link), frame_(link, &wishes_) {}

  Result<void> Run();

 private:
  Result<void> NextWishes();
  Result<void> Send(const protocol::WantFile& want);
  Result<void> SendContent(uint32_t tag, int fd, const struct statx& st);
  Result<void> SendRange(uint32_t tag, int fd, uint64_t begin, uint64_t end);
  Result<void> Refuse(uint32_t tag, int error);

  sys::Fd root_;
  ClientLink* link_;
  Wishes wishes_;
  FrameBuffer frame_;
  XattrReader xattrs_;
  int read_error_ = 0;      // of the current file
  bool cut_short_ = false;  // it has less than it had
  protocol::End end_;
};

Result<void> FileSender::Run() {
  TRY(wishes_.TakeBuffered());
  while (true) {
    if (!wishes_.empty()) {
      TRY(Send(wishes_.Pop()));
      TRY(frame_.FlushIfFull());
    } else if (wishes_.ended()) {
      TRY(frame_.Flush());
      return link_->Send(end_);
    } else {
      TRY(NextWishes());
    }
  }
}

// What is in the frame does not wait for requests to come.
Result<void> FileSender::NextWishes() {
  TRY(wishes_.Receive());
  if (!wishes_.empty() || wishes_.ended()) return {};
  TRY(frame_.Flush());
  if (!wishes_.empty() || wishes_.ended()) return {};
  return wishes_.Wait();
}

Result<void> FileSender::Refuse(uint32_t tag, int error) {
  ++end_.skipped;
  return frame_.Add(protocol::FileEnd{.tag = tag, .sys_errno = error});
}

Result<void> FileSender::Send(const protocol::WantFile& want) {
  int raw = OpenFile(root_.get(), want.path.c_str());
  if (raw < 0) return Refuse(want.tag, -raw);
  sys::Fd fd(raw);
  struct statx before{};
  if (!Stat(fd.get(), &before)) return Refuse(want.tag, errno);
  if (!S_ISREG(before.stx_mode)) return Refuse(want.tag, EINVAL);
  protocol::FileBegin begin{.tag = want.tag, .entry = ToEntry(before)};
  if (int error = xattrs_.ReadFd(fd.get(), &begin.entry.meta.xattrs); error != 0) {
    return Refuse(want.tag, error);
  }
  TRY(frame_.Add(begin));
  read_error_ = 0;
  cut_short_ = false;
  TRY(SendContent(want.tag, fd.get(), before));
  struct statx after{};
  bool same = Stat(fd.get(), &after) && after.stx_size == before.stx_size &&
              SameTime(after.stx_mtime, before.stx_mtime) &&
              SameTime(after.stx_ctime, before.stx_ctime) && !cut_short_;
  ++end_.files;
  return frame_.Add(protocol::FileEnd{.tag = want.tag, .sys_errno = read_error_, .changed = !same});
}

// At most the size that was announced: a file that grows is cut there, one that shrinks ends.
Result<void> FileSender::SendContent(uint32_t tag, int fd, const struct statx& st) {
  bool sparse = st.stx_blocks * 512 < st.stx_size;
  uint64_t at = 0;
  while (at < st.stx_size && read_error_ == 0 && !cut_short_) {
    uint64_t data = at;
    uint64_t end = st.stx_size;
    if (sparse) {
      off_t found = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
      if (found < 0 && errno != ENXIO) {
        sparse = false;  // this file system cannot say
        continue;
      }
      // ENXIO: nothing but a hole is left.
      data = found < 0 ? end : std::min(static_cast<uint64_t>(found), end);
      off_t hole = found < 0 ? -1 : lseek(fd, found, SEEK_HOLE);
      if (hole > found) end = std::min(static_cast<uint64_t>(hole), end);
    }
    if (data > at) {
      TRY(frame_.FlushIfFull());
      TRY(frame_.Add(protocol::FileHole{.length = data - at}));
    }
    if (data < end) TRY(SendRange(tag, fd, data, end));
    at = end;
  }
  return {};
}

Result<void> FileSender::SendRange(uint32_t tag, int fd, uint64_t begin, uint64_t end) {
  while (begin < end) {
    ASSIGN(ssize_t count, frame_.AddFrom(fd, tag, begin, end - begin));
    if (count < 0) read_error_ = static_cast<int>(-count);
    if (count == 0) cut_short_ = true;
    if (count <= 0) return {};
    begin += static_cast<uint64_t>(count);
    end_.bytes += static_cast<uint64_t>(count);
  }
  return {};
}

}  // namespace

Result<void> RunReadFiles(const protocol::ReadFiles& request, ClientLink* link) {
  ASSIGN(sys::Fd root, OpenTargetDir(request.dir));
  return FileSender(std::move(root), link).Run();
}

}  // namespace atl::agent
