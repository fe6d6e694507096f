// SPDX-License-Identifier: Apache-2.0
#include "snapshot/format.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <tuple>

#include "crypto/bytes.h"
#include "crypto/sha256.h"

namespace atl::snapshot {
namespace json = boost::json;

namespace {

constexpr int64_t kVersion = 1;

// The fields of the metadata, once for both directions.
template <class RecordType, class Visitor>
void VisitFields(RecordType& record, Visitor&& visit) {
  visit("sandbox", record.meta.sandbox);
  visit("dir", record.meta.dir);
  visit("name", record.meta.name);
  visit("created_at_ms", record.meta.created_at_ms);
  visit("bytes", record.meta.bytes);
  visit("stored", record.meta.stored);
  visit("files", record.meta.files);
  visit("object", record.object);
  visit("tar_sha256", record.tar_sha256);
}

class FieldReader {
 public:
  explicit FieldReader(const json::object& object) : object_(object) {}

  void operator()(std::string_view key, std::string& value) {
    const json::value* found = Find(key);
    if (found != nullptr && found->is_string()) {
      value.assign(found->get_string().data(), found->get_string().size());
    } else {
      ok_ = false;
    }
  }
  template <class Integer>
  void operator()(std::string_view key, Integer& value) {
    const json::value* found = Find(key);
    boost::system::error_code error;
    if (found != nullptr) value = found->to_number<Integer>(error);
    if (found == nullptr || error) ok_ = false;
  }
  bool ok() const { return ok_; }

 private:
  const json::value* Find(std::string_view key) const {
    return object_.if_contains(json::string_view(key.data(), key.size()));
  }

  const json::object& object_;
  bool ok_ = true;
};

struct FieldWriter {
  json::object& object;
  void operator()(std::string_view key, const auto& value) const {
    object[json::string_view(key.data(), key.size())] = value;
  }
};

Result<Record> ParseRecord(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error || !value.is_object()) return Fail(Code::kInternal, "the metadata is not JSON");
  FieldReader reader(value.get_object());
  int64_t version = 0;
  reader("version", version);
  if (reader.ok() && version != kVersion) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("the snapshot has format version {}, this program reads {}", version,
                            kVersion));
  }
  Record record;
  VisitFields(record, reader);
  if (!reader.ok() || !crypto::IsHex(record.object, 32) || !crypto::IsHex(record.tar_sha256, 64)) {
    return Fail(Code::kInternal, "the metadata lacks a field or has a wrong one");
  }
  return record;
}

}  // namespace

bool Record::operator==(const Record& other) const {
  auto all = [](const Record& r) {
    return std::tie(r.meta.snapshot_id, r.meta.sandbox, r.meta.dir, r.meta.name,
                    r.meta.created_at_ms, r.meta.bytes, r.meta.stored, r.meta.files, r.object,
                    r.tar_sha256);
  };
  return all(*this) == all(other);
}

bool IsSnapshotId(std::string_view id) { return crypto::IsHex(id, 64); }

std::string NewObjectName() { return crypto::RandomHex(16); }

std::string MetaFile(std::string_view snapshot_id) {
  return fmt::format("{}{}", snapshot_id, kMetaSuffix);
}

std::string ObjectFile(std::string_view object) {
  return fmt::format("{}{}", object, kObjectSuffix);
}

Result<std::string> EncodeRecord(Record& record) {
  json::object object;
  object["version"] = kVersion;
  VisitFields(std::as_const(record), FieldWriter{object});
  std::string text = json::serialize(object);
  if (text.size() > kMaxMetaBytes || !ParseRecord(text)) {
    return Fail(Code::kInvalidArgument,
                "the directory or the name of the snapshot is too long or not UTF-8");
  }
  record.meta.snapshot_id = crypto::Sha256Hex(text);
  return text;
}

Result<Record> DecodeRecord(std::string_view snapshot_id, std::string_view text) {
  std::string what = fmt::format("snapshot {}", snapshot_id);
  if (crypto::Sha256Hex(text) != snapshot_id) {
    return Fail(Code::kInternal, what + ": the metadata is damaged");
  }
  Result<Record> record = ParseRecord(text);
  if (!record) return Unexpected(std::move(record).error().Wrap(what));
  record->meta.snapshot_id = snapshot_id;
  return record;
}

}  // namespace atl::snapshot
