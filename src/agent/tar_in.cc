// SPDX-License-Identifier: Apache-2.0
// Makes a directory equal to an archive. Everything is extracted into a staging directory beside
// the old content first; only when the whole archive has come, end marker included, the old content
// goes and the new moves in.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "agent/archive_dir.h"
#include "protocol/frame.h"

namespace atl::agent {
namespace {

constexpr int kExtractFlags = ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |
                              ARCHIVE_EXTRACT_SPARSE | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                              ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                              ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;

// The archive as it comes through stdin: kTar frames, then kTarEnd.
class FramedInput {
 public:
  // The next piece; empty at the end.
  Result<std::string_view> Next() {
    while (true) {
      if (ended_) return std::string_view{};
      ASSIGN(auto frame, parser_.Next());
      if (frame && frame->type == protocol::FrameType::kTarEnd) {
        ended_ = true;
      } else if (frame && frame->type != protocol::FrameType::kTar) {
        return Fail(Code::kInvalidArgument, "a frame of another kind within the archive");
      } else if (frame && !frame->payload.empty()) {
        return frame->payload;
      } else if (!frame) {
        TRY(Fill());
      }
    }
  }

 private:
  Result<void> Fill() {
    auto space = parser_.Space(256U << 10U);
    ssize_t count = 0;
    do {
      count = read(STDIN_FILENO, space.data(), space.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) return FailErrno(errno, "read the archive");
    if (count == 0) return Fail(Code::kCancelled, "the archive was cut off");
    parser_.Commit(static_cast<size_t>(count));
    return {};
  }

  protocol::FrameParser parser_;
  bool ended_ = false;
};

// What the archive says about the directory itself.
struct OwnMetadata {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec mtime{};
};

class Extractor {
 public:
  Extractor() = default;
  ~Extractor() {
    archive_read_free(source_);
    archive_write_free(disk_);
  }
  Extractor(const Extractor&) = delete;
  Extractor& operator=(const Extractor&) = delete;

  // Into the current directory.
  Result<void> Run();

  const std::optional<OwnMetadata>& own() const { return own_; }
  const protocol::End& end() const { return end_; }

 private:
  static la_ssize_t ReadBlock(archive* source, void* self, const void** data);
  Result<void> ExtractEntry(archive_entry* entry);
  Result<void> CopyContent();
  Error ArchiveError(archive* from, std::string_view what) const;

  archive* source_ = archive_read_new();
  archive* disk_ = archive_write_disk_new();
  FramedInput input_;
  std::optional<Error> input_error_;
  std::optional<OwnMetadata> own_;
  protocol::End end_;
};

la_ssize_t Extractor::ReadBlock(archive* source, void* self, const void** data) {
  auto* extractor = static_cast<Extractor*>(self);
  auto piece = extractor->input_.Next();
  if (!piece) {
    extractor->input_error_ = std::move(piece).error();
    archive_set_error(source, EIO, "the input failed");
    return -1;
  }
  *data = piece->data();
  return static_cast<la_ssize_t>(piece->size());
}

Error Extractor::ArchiveError(archive* from, std::string_view what) const {
  if (input_error_) return *input_error_;
  int error = archive_errno(from);
  if (error == ENOSPC || error == EDQUOT || error == EROFS || error == ENOMEM) {
    return ErrnoError(error, what);
  }
  const char* text = archive_error_string(from);
  return Error{.code = Code::kInvalidArgument,
               .message = std::string(what) + ": " + (text == nullptr ? "bad archive" : text)};
}

Result<void> Extractor::Run() {
  archive_read_support_format_tar(source_);
  archive_write_disk_set_options(disk_, kExtractFlags);
  if (archive_read_open2(source_, this, nullptr, ReadBlock, nullptr, nullptr) != ARCHIVE_OK) {
    return Unexpected(ArchiveError(source_, "open the archive"));
  }
  archive_entry* entry = nullptr;
  int status = 0;
  while ((status = archive_read_next_header(source_, &entry)) != ARCHIVE_EOF) {
    if (status < ARCHIVE_WARN) return Unexpected(ArchiveError(source_, "read the archive"));
    TRY(ExtractEntry(entry));
  }
  // The end of the tar format is not yet the end that the sender marks.
  while (true) {
    ASSIGN(std::string_view rest, input_.Next());
    if (rest.empty()) break;
  }
  if (!own_) return Fail(Code::kInvalidArgument, "the archive does not begin with \".\"");
  if (archive_write_close(disk_) < ARCHIVE_WARN) {
    return Unexpected(ArchiveError(disk_, "finish the restored files"));
  }
  return {};
}

bool HasDotDot(std::string_view path) {
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return true;
    begin = end + 1;
  }
  return false;
}

Result<void> Extractor::ExtractEntry(archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  std::string path = raw == nullptr ? "" : raw;
  const char* link = archive_entry_hardlink(entry);
  for (const std::string& name : {path, std::string(link == nullptr ? "." : link)}) {
    if (name.empty() || name[0] == '/' || HasDotDot(name)) {
      return Fail(Code::kInvalidArgument, "the archive holds an unsafe name: " + name);
    }
  }
  mode_t type = archive_entry_filetype(entry);
  if (!own_) {
    if ((path != "." && path != "./") || type != AE_IFDIR) {
      return Fail(Code::kInvalidArgument, "the archive does not begin with \".\"");
    }
    own_ = OwnMetadata{.mode = archive_entry_perm(entry),
                       .uid = static_cast<uid_t>(archive_entry_uid(entry)),
                       .gid = static_cast<gid_t>(archive_entry_gid(entry)),
                       .mtime = {.tv_sec = archive_entry_mtime(entry),
                                 .tv_nsec = archive_entry_mtime_nsec(entry)}};
    return {};
  }
  if (type == AE_IFCHR || type == AE_IFBLK || type == AE_IFSOCK) {
    ++end_.skipped;
    return {};
  }
  if (archive_write_header(disk_, entry) < ARCHIVE_WARN) {
    return Unexpected(ArchiveError(disk_, "restore " + path));
  }
  ++end_.files;
  if (archive_entry_size(entry) > 0 && link == nullptr) {
    auto copied = CopyContent();
    if (!copied) return Unexpected(std::move(copied).error().Wrap("restore " + path));
  }
  if (archive_write_finish_entry(disk_) < ARCHIVE_WARN) {
    return Unexpected(ArchiveError(disk_, "restore " + path));
  }
  return {};
}

Result<void> Extractor::CopyContent() {
  while (true) {
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    int status = archive_read_data_block(source_, &data, &size, &offset);
    if (status == ARCHIVE_EOF) return {};
    if (status < ARCHIVE_WARN) return Unexpected(ArchiveError(source_, "read"));
    if (archive_write_data_block(disk_, data, size, offset) < ARCHIVE_WARN) {
      return Unexpected(ArchiveError(disk_, "write"));
    }
    end_.bytes += size;
  }
}

// rm -rf below an open directory: by descriptors, through no symlink.
Result<void> RemoveAt(int dir, const std::string& name, int depth) {
  if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, "remove " + name);
  if (depth > 1000) return Fail(Code::kInvalidArgument, "directories are nested too deeply");
  {
    ASSIGN(sys::Fd sub, sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ASSIGN(auto names, ListNames(sub.get()));
    for (const std::string& child : names) TRY(RemoveAt(sub.get(), child, depth + 1));
  }
  if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0) return FailErrno(errno, "remove " + name);
  return {};
}

Result<std::string> MakeStaging(int root) {
  std::array<unsigned char, 8> random{};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return FailErrno(errno, "get random bytes");
  }
  std::string name(kStagingPrefix);
  for (unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4U];
    name += "0123456789abcdef"[byte & 15U];
  }
  if (mkdirat(root, name.c_str(), 0700) != 0) return FailErrno(errno, "make a directory");
  return name;
}

// The old content goes, the new moves in, and the directory gets what the archive says of it.
Result<void> Replace(int root, const std::string& staging, int staged, const OwnMetadata& own) {
  ASSIGN(auto old_names, ListNames(root));
  for (const std::string& name : old_names) {
    if (name != staging) TRY(RemoveAt(root, name, 0));
  }
  ASSIGN(auto new_names, ListNames(staged));
  for (const std::string& name : new_names) {
    if (renameat(staged, name.c_str(), root, name.c_str()) != 0) {
      return FailErrno(errno, "move " + name + " to its place");
    }
  }
  TRY(RemoveAt(root, staging, 0));
  if (fchown(root, own.uid, own.gid) != 0 || fchmod(root, own.mode) != 0) {
    return FailErrno(errno, "set the directory's owner and mode");
  }
  std::array<timespec, 2> times{{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, own.mtime}};
  if (futimens(root, times.data()) != 0) return FailErrno(errno, "set the directory's time");
  return {};
}

Result<protocol::End> Restore(const std::string& dir) {
  ASSIGN(sys::Fd root, OpenArchiveDir(dir));
  if (flock(root.get(), LOCK_EX | LOCK_NB) != 0) {
    return Fail(Code::kFailedPrecondition, "another restore of " + dir + " is running",
                "RESOURCE_BUSY");
  }
  // One that was killed leaves its staging directory.
  ASSIGN(auto names, ListNames(root.get()));
  for (const std::string& name : names) {
    if (IsStagingName(name)) TRY(RemoveAt(root.get(), name, 0));
  }
  ASSIGN(std::string staging, MakeStaging(root.get()));
  auto outcome = [&]() -> Result<protocol::End> {
    ASSIGN(sys::Fd staged, sys::OpenAt(root.get(), staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (fchdir(staged.get()) != 0) return FailErrno(errno, "enter the staging directory");
    Extractor extractor;
    TRY(extractor.Run());
    TRY(Replace(root.get(), staging, staged.get(), *extractor.own()));
    return extractor.end();
  }();
  if (!outcome) (void)RemoveAt(root.get(), staging, 0);
  return outcome;
}

}  // namespace

int TarInMain(const std::string& dir) {
  umask(022);
  auto made = MakeMissingDirs(dir);
  if (!made) return ReportOutcome(Unexpected(std::move(made).error()));
  auto outcome = Restore(dir);
  if (!outcome) RemoveMadeDirs(*made);
  return ReportOutcome(outcome);
}

}  // namespace atl::agent
