// SPDX-License-Identifier: Apache-2.0
#include "agent/stage_write.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "agent/dir_cache.h"
#include "agent/entry_meta.h"
#include "agent/staging.h"
#include "agent/target_dir.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr size_t kMaxOpenFiles = 64;
constexpr uint64_t kBlock = 4096;

Unexpected Invalid(const std::string& why) {
  return Fail(Code::kInvalidArgument, "what is to be staged is not possible: " + why,
              "INVALID_FRAME");
}

bool IsZero(const char* data, size_t size) {
  return data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0;
}

// The aligned block at the front, or what is left of the file where that ends within it. 0:
// neither.
size_t BlockLength(uint64_t offset, std::string_view bytes, uint64_t file_size) {
  if (offset % kBlock != 0 || bytes.empty()) return 0;
  if (bytes.size() >= kBlock) return kBlock;
  return offset + bytes.size() == file_size ? bytes.size() : 0;
}

// How much of the front need not be written: blocks of zeros.
size_t HoleLength(uint64_t offset, std::string_view bytes, uint64_t file_size) {
  size_t at = 0;
  while (size_t block = BlockLength(offset + at, bytes.substr(at), file_size)) {
    if (!IsZero(bytes.data() + at, block)) break;
    at += block;
  }
  return at;
}

// How much of the front is data: up to the first block of zeros.
size_t DataLength(uint64_t offset, std::string_view bytes, uint64_t file_size) {
  size_t at = std::min<size_t>((kBlock - offset % kBlock) % kBlock, bytes.size());
  while (size_t block = BlockLength(offset + at, bytes.substr(at), file_size)) {
    if (IsZero(bytes.data() + at, block)) return at;
    at += block;
  }
  return bytes.size();
}

class StageFiller {
 public:
  static Result<StageFiller> Open(const protocol::StageWrite& request) {
    if (!IsStagingId(request.stage)) return Invalid("it is not the name of a stage");
    ASSIGN(sys::Fd root, OpenTargetDir(request.dir));
    std::string path = StagingName(kRestorePrefix, request.stage) + "/" + kStagedDir;
    ASSIGN(sys::Fd stage, OpenBeneath(root.get(), path, O_PATH | O_DIRECTORY));
    return StageFiller(std::move(stage));
  }

  // All records of a frame.
  Result<void> Take(std::string_view payload);
  Result<protocol::End> Finish();

 private:
  struct OpenFile {
    uint32_t tag = 0;
    sys::Fd file;
    std::string path;
    uint64_t size = 0;
    uint64_t written = 0;  // up to where
    bool owned = false;    // by whom it has to be
    protocol::EntryMeta meta;
  };

  explicit StageFiller(sys::Fd stage)
      : stage_(std::move(stage)), parents_(stage_.get()), link_sources_(stage_.get()) {}

  Result<void> Do(protocol::StageDir record);
  Result<void> Do(protocol::StageFile record);
  Result<void> Do(const protocol::FileBytes& record);
  Result<void> Do(const protocol::StageEnd& record);
  Result<void> Do(protocol::StageSpecial record);
  Result<void> Do(protocol::StageMeta record);
  // A record of another operation.
  template <class R>
  Result<void> Do(const R& record) {
    (void)record;
    return Invalid("a record of another kind");
  }

  Result<void> MakeSpecial(int parent, const std::string& name,
                           const protocol::StageSpecial& record);
  Result<OpenFile*> Find(uint32_t tag);
  bool IsOwned(std::string_view dir, int file, const protocol::EntryMeta& meta);

  sys::Fd stage_;
  DirCache parents_;
  DirCache link_sources_;
  std::vector<OpenFile> open_;
  // To whom a new file belongs in the directory that was used last: it may hand its group down.
  std::optional<std::string> owner_dir_;
  uid_t owner_ = 0;
  gid_t group_ = 0;
  MetaRefusals refusals_;
  protocol::End end_;
};

// Says which entry it was: a full disk does not.
Result<void> About(const std::string& path, Result<void> done) {
  if (done) return done;
  return Unexpected(std::move(done).error().Wrap("stage " + path));
}
Unexpected FailAbout(int err, const std::string& path) { return FailErrno(err, "stage " + path); }

Result<void> StageFiller::Take(std::string_view payload) {
  protocol::RecordReader records(payload);
  while (true) {
    ASSIGN(auto record, records.Next());
    if (!record) return {};
    TRY(std::visit([&](auto& of_kind) { return Do(std::move(of_kind)); }, *record));
  }
}

Result<protocol::End> StageFiller::Finish() {
  if (!open_.empty()) return Invalid("the bytes of " + open_.front().path + " have no end");
  end_.skipped = refusals_.count;
  return end_;
}

// Whoever needs a directory makes it: several connections may need the same.
Result<void> StageFiller::Do(protocol::StageDir record) {
  auto [dir, name] = SplitPath(record.path);
  auto parent = parents_.Open(dir);
  if (!parent) return About(record.path, Unexpected(std::move(parent).error()));
  if (mkdirat(*parent, name.c_str(), 0700) == 0) {
    ++end_.files;
    return {};
  }
  int error = errno;
  struct stat st{};
  bool there = error == EEXIST && fstatat(*parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISDIR(st.st_mode);
  if (there) return {};
  return FailAbout(error, record.path);
}

Result<void> StageFiller::Do(protocol::StageFile record) {
  if (open_.size() >= kMaxOpenFiles) return Invalid("too many files are open");
  if (!S_ISREG(record.meta.mode)) return Invalid(record.path + " is not a file");
  if (Find(record.tag)) return Invalid("two open files have the same tag");
  size_t slash = record.path.rfind('/');
  std::string_view dir = slash == std::string::npos
                             ? std::string_view()
                             : std::string_view(record.path).substr(0, slash);
  auto parent = parents_.Open(dir);
  if (!parent) return About(record.path, Unexpected(std::move(parent).error()));
  const char* name = record.path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
  sys::Fd file(openat(*parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      record.meta.mode & 0777U));
  if (!file) return FailAbout(errno, record.path);
  bool owned = IsOwned(dir, file.get(), record.meta);
  open_.push_back(OpenFile{.tag = record.tag,
                           .file = std::move(file),
                           .path = std::move(record.path),
                           .size = record.size,
                           .owned = owned,
                           .meta = std::move(record.meta)});
  return {};
}

bool StageFiller::IsOwned(std::string_view dir, int file, const protocol::EntryMeta& meta) {
  if (owner_dir_ != dir) {
    struct stat st{};
    owner_dir_.reset();
    if (fstat(file, &st) != 0) return false;
    owner_dir_.emplace(dir);
    owner_ = st.st_uid;
    group_ = st.st_gid;
  }
  return meta.uid == owner_ && meta.gid == group_;
}

Result<StageFiller::OpenFile*> StageFiller::Find(uint32_t tag) {
  for (auto file = open_.rbegin(); file != open_.rend(); ++file) {
    if (file->tag == tag) return &*file;
  }
  return Invalid("bytes of a file that is not open");
}

Result<void> StageFiller::Do(const protocol::FileBytes& record) {
  ASSIGN(OpenFile * file, Find(record.tag));
  uint64_t offset = record.offset;
  std::string_view bytes = record.bytes;
  if (offset > file->size || bytes.size() > file->size - offset) {
    return Invalid("bytes behind the end of " + file->path);
  }
  end_.bytes += bytes.size();
  while (!bytes.empty()) {
    size_t hole = HoleLength(offset, bytes, file->size);
    offset += hole;
    bytes.remove_prefix(hole);
    for (size_t left = DataLength(offset, bytes, file->size); left > 0;) {
      ssize_t count = pwrite(file->file.get(), bytes.data(), left, static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return FailAbout(count < 0 ? errno : EIO, file->path);
      left -= static_cast<size_t>(count);
      offset += static_cast<uint64_t>(count);
      bytes.remove_prefix(static_cast<size_t>(count));
      file->written = std::max(file->written, offset);
    }
  }
  return {};
}

Result<void> StageFiller::Do(const protocol::StageEnd& record) {
  ASSIGN(OpenFile * file, Find(record.tag));
  // What was never written up to the end is a hole.
  if (file->written < file->size &&
      ftruncate(file->file.get(), static_cast<off_t>(file->size)) != 0) {
    return FailAbout(errno, file->path);
  }
  auto set =
      SetMeta(file->file.get(), file->meta, {.fresh = true, .owned = file->owned}, &refusals_);
  if (!set) return About(file->path, std::move(set));
  ++end_.files;
  open_.erase(open_.begin() + (file - open_.data()));
  return {};
}

Result<void> StageFiller::MakeSpecial(int parent, const std::string& name,
                                      const protocol::StageSpecial& record) {
  if (!record.hard_link_to.empty()) {
    auto [dir, source_name] = SplitPath(record.hard_link_to);
    ASSIGN(int source, link_sources_.Open(dir));
    if (linkat(source, source_name.c_str(), parent, name.c_str(), 0) == 0) return {};
    return FailErrno(errno, "link it to " + record.hard_link_to);
  }
  if (S_ISLNK(record.meta.mode)) {
    if (symlinkat(record.link_target.c_str(), parent, name.c_str()) != 0) {
      return FailErrno(errno, "make a symbolic link");
    }
  } else if (S_ISFIFO(record.meta.mode)) {
    if (mknodat(parent, name.c_str(), S_IFIFO | 0600, 0) != 0) {
      return FailErrno(errno, "make a fifo");
    }
  } else {
    return Invalid("neither a link nor a fifo");
  }
  return SetMetaAt(parent, name, record.meta, &refusals_);
}

Result<void> StageFiller::Do(protocol::StageSpecial record) {
  auto [dir, name] = SplitPath(record.path);
  auto parent = parents_.Open(dir);
  if (!parent) return About(record.path, Unexpected(std::move(parent).error()));
  TRY(About(record.path, MakeSpecial(*parent, name, record)));
  ++end_.files;
  return {};
}

Result<void> StageFiller::Do(protocol::StageMeta record) {
  owner_dir_.reset();
  if (!S_ISDIR(record.meta.mode)) return Invalid(record.path + " is not a directory");
  auto [dir, name] = SplitPath(record.path);
  auto parent = parents_.Open(dir);
  if (!parent) return About(record.path, Unexpected(std::move(parent).error()));
  return About(record.path, SetMetaAt(*parent, name, record.meta, &refusals_));
}

}  // namespace

Result<void> RunStageWrite(const protocol::StageWrite& request, ClientLink* link) {
  umask(0);
  ASSIGN(StageFiller filler, StageFiller::Open(request));
  while (true) {
    ASSIGN(auto frame, link->Next());
    if (frame.type == FrameType::kTreeEnd) {
      ASSIGN(protocol::End end, filler.Finish());
      return link->Send(end);
    }
    if (frame.type != FrameType::kTree) return Unexpected(protocol::UnexpectedFrame(frame));
    TRY(filler.Take(frame.payload));
  }
}

}  // namespace atl::agent
