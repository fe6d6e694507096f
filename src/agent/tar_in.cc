// SPDX-License-Identifier: Apache-2.0
// Makes a directory equal to an archive. Everything is extracted into a staging directory beside
// the old content first; only when the whole archive has come, end marker included, the two change
// places.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "agent/archive_dir.h"
#include "agent/settle.h"
#include "agent/swap.h"
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

Result<protocol::End> Restore(const std::string& dir) {
  ASSIGN(sys::Fd root, OpenArchiveDir(dir));
  if (flock(root.get(), LOCK_EX | LOCK_NB) != 0) {
    return Fail(Code::kFailedPrecondition, "another restore of " + dir + " is running",
                "RESOURCE_BUSY");
  }
  TRY(Settle(root.get()));
  Sweep(root.get());
  ASSIGN(std::string id, MakeSwapStaging(root.get()));
  auto outcome = [&]() -> Result<protocol::End> {
    std::string staging = std::string(kRestorePrefix) + id;
    ASSIGN(sys::Fd staged, sys::OpenAt(root.get(), staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (fchdir(staged.get()) != 0) return FailErrno(errno, "enter the staging directory");
    Extractor extractor;
    TRY(extractor.Run());
    TRY(Swap(root.get(), id, *extractor.own()));
    return extractor.end();
  }();
  // What cannot be settled now stays for the next one: it may hold the old content.
  if (!outcome && Settle(root.get())) Sweep(root.get());
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
