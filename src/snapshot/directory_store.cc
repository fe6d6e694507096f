// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "blob/directory.h"
#include "snapshot/format.h"
#include "snapshot/reader.h"
#include "snapshot/store.h"
#include "snapshot/writer.h"

namespace atl::snapshot {
namespace {

Result<Record> ReadRecord(const blob::Directory& directory, std::string_view snapshot_id) {
  Result<std::string> text = directory.Read(MetaFile(snapshot_id), kMaxMetaBytes);
  if (!text && text.error().code == Code::kNotFound) {
    return Fail(Code::kNotFound, fmt::format("there is no snapshot {}", snapshot_id),
                "BACKUP_NOT_FOUND");
  }
  if (!text) return Unexpected(std::move(text).error());
  return DecodeRecord(snapshot_id, *text);
}

// Every snapshot that can be read; what cannot is logged and counted in `damaged`.
Result<std::vector<Record>> ReadAll(const blob::Directory& directory, size_t* damaged) {
  ASSIGN(auto files, directory.List(kMetaSuffix));
  std::vector<Record> records;
  for (const std::string& file : files) {
    std::string_view id = std::string_view(file).substr(0, file.size() - kMetaSuffix.size());
    if (!IsSnapshotId(id)) continue;
    Result<Record> record = ReadRecord(directory, id);
    if (record) {
      records.push_back(*std::move(record));
    } else {
      log::Warning("{}", record.error().message);
      ++*damaged;
    }
  }
  return records;
}

// An object without metadata is what a daemon left that was killed between the two. With damaged
// metadata around nobody can tell which object it named: keep all.
Result<void> RemoveOrphans(const blob::Directory& directory) {
  size_t damaged = 0;
  ASSIGN(auto records, ReadAll(directory, &damaged));
  if (damaged > 0) return {};
  std::set<std::string> named;
  for (const Record& record : records) named.insert(ObjectFile(record.object));
  ASSIGN(auto objects, directory.List(kObjectSuffix));
  for (const std::string& object : objects) {
    if (named.contains(object)) continue;
    log::Info("removing {}, which no snapshot names", object);
    TRY(directory.Remove(object));
  }
  return {};
}

class DirectoryStore : public Store {
 public:
  DirectoryStore(async::Runtime& runtime, blob::Directory directory)
      : runtime_(runtime), directory_(std::move(directory)) {}

  async::Task<Result<std::unique_ptr<Writer>>> Create() override {
    auto put = [this] { return directory_.Put(); };
    CO_ASSIGN(blob::Upload upload, co_await runtime_.blocking().Run(put));
    co_return MakeWriter(runtime_, directory_, std::move(upload));
  }

  async::Task<Result<std::unique_ptr<Reader>>> Open(std::string snapshot_id) override {
    if (!IsSnapshotId(snapshot_id)) {
      co_return Fail(Code::kInvalidArgument, "a snapshot id is 64 lowercase hexadecimal digits",
                     "INVALID_BACKUP_CONFIG");
    }
    auto open = [this, &snapshot_id] { return OpenBlocking(snapshot_id); };
    Result<std::unique_ptr<Reader>> reader = co_await runtime_.blocking().Run(open);
    co_return reader;
  }

  async::Task<Result<std::vector<Meta>>> List(std::string sandbox) override {
    auto list = [this, &sandbox] { return ListBlocking(sandbox); };
    Result<std::vector<Meta>> metas = co_await runtime_.blocking().Run(list);
    co_return metas;
  }

 private:
  Result<std::unique_ptr<Reader>> OpenBlocking(const std::string& snapshot_id) {
    ASSIGN(Record record, ReadRecord(directory_, snapshot_id));
    ASSIGN(blob::Download object, directory_.Get(ObjectFile(record.object)));
    if (object.size() != record.meta.stored) {
      return Fail(Code::kInternal,
                  fmt::format("snapshot {} is damaged: its object has {} bytes instead of {}",
                              snapshot_id, object.size(), record.meta.stored),
                  "BACKUP_RESTORE_FAILED");
    }
    return MakeReader(runtime_, std::move(record), std::move(object));
  }

  Result<std::vector<Meta>> ListBlocking(const std::string& sandbox) {
    size_t damaged = 0;
    ASSIGN(auto records, ReadAll(directory_, &damaged));
    std::vector<Meta> metas;
    for (Record& record : records) {
      if (record.meta.sandbox == sandbox) metas.push_back(std::move(record.meta));
    }
    std::ranges::sort(metas, std::greater(), &Meta::created_at_ms);
    return metas;
  }

  async::Runtime& runtime_;
  blob::Directory directory_;
};

}  // namespace

Result<std::unique_ptr<Store>> Store::OpenDirectory(async::Runtime& runtime, std::string dir) {
  ASSIGN(blob::Directory directory, blob::Directory::Open(dir));
  TRY(RemoveOrphans(directory));
  return std::make_unique<DirectoryStore>(runtime, std::move(directory));
}

}  // namespace atl::snapshot
