// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "snapshot/archive_source.h"
#include "snapshot/browse.h"

namespace atl::snapshot {
namespace {

using repository::BlobType;
using repository::Id;
using repository::Node;
using repository::NodeType;
using repository::Repository;
using repository::SnapshotRecord;

using Sink = std::function<Result<void>(std::string_view)>;
using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

mode_t ModeOf(const Node& node) {
  switch (node.type) {
    case NodeType::kDirectory:
      return S_IFDIR | node.permissions;
    case NodeType::kSymlink:
      return S_IFLNK | 0777U;
    case NodeType::kFifo:
      return S_IFIFO | node.permissions;
    default:
      return S_IFREG | node.permissions;
  }
}

constexpr int64_t kCheapEnd = 64 << 20;

class Archiver {
 public:
  Archiver(Repository& repository, const Sink& sink, const std::stop_token& stop)
      : repository_(repository), sink_(sink), stop_(stop), source_(repository, stop) {}
  ~Archiver() {
    // What is left would be written; of a large file that is not worth its time. Otherwise it goes
    // nowhere, for libarchive frees its buffers only behind a proper end.
    dead_ = true;
    if (left_ > kCheapEnd) archive_write_fail(archive_);
    archive_write_free(archive_);
  }
  Archiver(const Archiver&) = delete;
  Archiver& operator=(const Archiver&) = delete;

  Result<void> Run(const Node& root);

 private:
  static la_ssize_t OnBytes(archive* out, void* self, const void* bytes, size_t size);
  Result<void> Open();
  Result<void> Write(const ArchiveSource::Item& item);
  Result<void> WriteContent(const Node& node);
  Result<void> Describe(archive_entry* entry, const Node& node);
  Result<void> WriteHeader(archive_entry* entry);
  Entry MakeEntry(const std::string& path, const Node& node);
  Error ArchiveError();

  Repository& repository_;
  const Sink& sink_;
  std::stop_token stop_;
  ArchiveSource source_;
  archive* archive_ = archive_write_new();
  std::optional<Error> error_;  // of the sink
  bool dead_ = false;           // nothing goes out any more
  int64_t left_ = 0;            // of the current file
};

la_ssize_t Archiver::OnBytes(archive* /*out*/, void* self, const void* bytes, size_t size) {
  auto* archiver = static_cast<Archiver*>(self);
  if (archiver->dead_) return static_cast<la_ssize_t>(size);
  Result<void> done;
  if (archiver->stop_.stop_requested()) {
    done = Fail(Code::kCancelled, "the archive was given up");
  } else {
    done = archiver->sink_({static_cast<const char*>(bytes), size});
  }
  if (done) return static_cast<la_ssize_t>(size);
  // The writer goes on until it next asks for the error.
  archiver->error_ = std::move(done).error();
  archiver->dead_ = true;
  return static_cast<la_ssize_t>(size);
}

Error Archiver::ArchiveError() {
  if (error_) return *error_;
  const char* text = archive_error_string(archive_);
  return Error{.code = Code::kInternal,
               .message = fmt::format("write the archive: {}", text == nullptr ? "?" : text)};
}

Result<void> Archiver::Open() {
  // Names are bytes. One that is not text in the locale's encoding, which is UTF-8, is stored as it
  // is and says so; the others need not.
  if (archive_write_set_format_pax(archive_) != ARCHIVE_OK ||
      archive_write_add_filter_zstd(archive_) != ARCHIVE_OK ||
      archive_write_set_bytes_per_block(archive_, 128 << 10) != ARCHIVE_OK ||
      archive_write_set_bytes_in_last_block(archive_, 1) != ARCHIVE_OK ||
      archive_write_open(archive_, this, nullptr, OnBytes, nullptr) != ARCHIVE_OK) {
    return Unexpected(ArchiveError());
  }
  return {};
}

Entry Archiver::MakeEntry(const std::string& path, const Node& node) {
  Entry entry(archive_entry_new2(archive_), archive_entry_free);
  archive_entry_copy_pathname(entry.get(), path.c_str());
  archive_entry_set_mode(entry.get(), ModeOf(node));
  archive_entry_set_uid(entry.get(), node.uid);
  archive_entry_set_gid(entry.get(), node.gid);
  archive_entry_set_mtime(entry.get(), node.mtime.seconds, node.mtime.nanos);
  archive_entry_set_size(entry.get(), 0);
  for (const auto& [name, value] : node.xattrs()) {
    // A '=' ends a key of a pax header: the value would go to another attribute.
    if (name.contains('=')) continue;
    archive_entry_xattr_add_entry(entry.get(), name.c_str(), value.data(), value.size());
  }
  return entry;
}

Result<void> Archiver::WriteHeader(archive_entry* entry) {
  // A warning says that something of the entry could not be stored exactly; it is stored.
  if (archive_write_header(archive_, entry) >= ARCHIVE_WARN && !error_) return {};
  return Unexpected(ArchiveError());
}

Result<void> Archiver::Run(const Node& root) {
  if (root.type != NodeType::kDirectory) {
    return Fail(Code::kFailedPrecondition, "the snapshot is not of a directory", "NOT_A_DIRECTORY");
  }
  TRY(Open());
  Entry entry = MakeEntry("./", root);
  TRY(WriteHeader(entry.get()));
  TRY(source_.Open(root.subtree));
  while (true) {
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "the archive was given up");
    ASSIGN(const ArchiveSource::Item* item, source_.Next());
    if (item == nullptr) break;
    TRY(Write(*item));
  }
  if (archive_write_close(archive_) != ARCHIVE_OK || error_) return Unexpected(ArchiveError());
  return {};
}

Result<void> Archiver::Write(const ArchiveSource::Item& item) {
  const Node& node = item.node;
  Entry entry = MakeEntry(item.path, node);
  switch (node.type) {
    case NodeType::kSocket:
    case NodeType::kDevice:
    case NodeType::kCharDevice:
      return {};
    case NodeType::kSymlink:
      archive_entry_copy_symlink(entry.get(), std::string(node.link_target()).c_str());
      return WriteHeader(entry.get());
    case NodeType::kFile:
      break;
    default:
      return WriteHeader(entry.get());
  }
  if (!item.hard_link.empty()) {
    archive_entry_copy_hardlink(entry.get(), item.hard_link.c_str());
    return WriteHeader(entry.get());
  }
  TRY(Describe(entry.get(), node));
  left_ = archive_entry_size(entry.get());
  TRY(WriteHeader(entry.get()));
  TRY(WriteContent(node));
  left_ = 0;
  return {};
}

// Its size, as its blobs have it, and where it holds something else than zeros.
Result<void> Archiver::Describe(archive_entry* entry, const Node& node) {
  int64_t size = 0;
  std::vector<std::pair<int64_t, int64_t>> ranges;  // of data: begin and end
  bool sparse = false;
  for (const Id& id : node.content) {
    if (id == ArchiveSource::ZeroChunkId()) {
      sparse = true;
      size += repository::kMinChunk;
      continue;
    }
    auto found = repository_.Find({BlobType::kData, id});
    if (!found) {
      return Fail(Code::kInternal,
                  fmt::format("no index names the data blob {} of \"{}\"", id.Hex(),
                              repository::QuoteName(node.name)),
                  "BLOB_MISSING");
    }
    int64_t begin = size;
    size += static_cast<int64_t>(found->blob.PlainLength());
    if (ranges.empty() || ranges.back().second != begin) ranges.emplace_back(begin, size);
    ranges.back().second = size;
  }
  // The size first: libarchive drops ranges that are past it.
  archive_entry_set_size(entry, size);
  if (!sparse) return {};
  if (ranges.empty()) ranges.emplace_back(size, size);
  for (auto [begin, end] : ranges) archive_entry_sparse_add_entry(entry, begin, end - begin);
  return {};
}

// libarchive wants to be given the zeros of holes too, and passes over them.
Result<void> Archiver::WriteContent(const Node& node) {
  for (size_t i = 0; i < node.content.size(); ++i) {
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "the archive was given up");
    ASSIGN(auto plain, source_.NextBlob());
    for (std::string_view left = *plain; !left.empty();) {
      auto written = archive_write_data(archive_, left.data(), left.size());
      if (written <= 0 || error_) return Unexpected(ArchiveError());
      left_ -= written;
      left.remove_prefix(static_cast<size_t>(written));
    }
  }
  return {};
}

}  // namespace

Result<void> WriteArchive(Repository& repository, const SnapshotRecord& snapshot, const Sink& sink,
                          std::stop_token stop) {
  ASSIGN(Node root, FindNode(repository, snapshot, "", stop));
  return Archiver(repository, sink, stop).Run(root);
}

}  // namespace atl::snapshot
