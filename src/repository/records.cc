// SPDX-License-Identifier: Apache-2.0
#include "repository/records.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <limits>
#include <utility>

#include "json/writer.h"
#include "repository/corrupt.h"

namespace atl::repository {
namespace {

constexpr size_t kMaxRecord = 64U << 20U;
constexpr size_t kMaxText = 64U << 10U;
constexpr size_t kMaxList = 100'000;

Unexpected Corrupt(std::string_view what, std::string_view why) {
  return FailCorrupt(fmt::format("{}: {}", what, why));
}

// An object whose members are read by name; the first that is wrong is kept. `null` is absent.
class Members {
 public:
  Members(std::string_view what, const boost::json::object& object)
      : what_(what), object_(object) {}

  std::string Text(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value == nullptr) return {};
    return TextOf(name, *value);
  }
  std::vector<std::string> Texts(std::string_view name) {
    std::vector<std::string> texts;
    const boost::json::value* value = Find(name);
    if (value == nullptr) return texts;
    if (!value->is_array() || value->get_array().size() > kMaxList) {
      Wrong(name);
      return texts;
    }
    for (const boost::json::value& text : value->get_array()) texts.push_back(TextOf(name, text));
    return texts;
  }
  std::optional<Id> OptionalId(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    auto id = ParseId(TextOf(name, *value));
    if (!id) Wrong(name);
    return id ? std::optional(*id) : std::nullopt;
  }
  Time When(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value == nullptr) return {};
    auto time = ParseTime(TextOf(name, *value));
    if (!time) Wrong(name);
    return time.value_or(Time{});
  }
  bool Bool(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value == nullptr) return false;
    if (!value->is_bool()) Wrong(name);
    return value->is_bool() && value->get_bool();
  }
  template <class T>
  T Number(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value == nullptr) return 0;
    boost::json::error_code error;
    T number = value->is_double() ? T{0} : value->to_number<T>(error);
    if (error || value->is_double()) Wrong(name);
    return number;
  }
  const boost::json::object* Object(std::string_view name) {
    const boost::json::value* value = Find(name);
    if (value != nullptr && !value->is_object()) Wrong(name);
    return value != nullptr ? value->if_object() : nullptr;
  }
  void Wrong(std::string_view name) {
    if (wrong_.empty()) wrong_ = name;
  }
  Result<void> Done() const {
    if (wrong_.empty()) return {};
    return Corrupt(what_, fmt::format("\"{}\" is missing or is not what it should be", wrong_));
  }

 private:
  const boost::json::value* Find(std::string_view name) const {
    const boost::json::value* value = object_.if_contains({name.data(), name.size()});
    return value != nullptr && value->is_null() ? nullptr : value;
  }
  std::string TextOf(std::string_view name, const boost::json::value& value) {
    const boost::json::string* text = value.if_string();
    if (text == nullptr || text->size() > kMaxText) {
      Wrong(name);
      return {};
    }
    return {text->data(), text->size()};
  }

  std::string_view what_;
  const boost::json::object& object_;
  std::string wrong_;
};

Result<boost::json::value> ParseRecord(std::string_view what, std::string_view json) {
  if (json.size() > kMaxRecord) return Corrupt(what, "it is too large");
  boost::json::error_code error;
  boost::json::value value = boost::json::parse({json.data(), json.size()}, error);
  if (error) return Corrupt(what, "not JSON: " + error.message());
  if (!value.is_object()) return Corrupt(what, "not an object");
  return value;
}

void WriteTexts(json::Writer& out, std::string_view name, const std::vector<std::string>& texts) {
  out.Key(name).BeginArray();
  for (const std::string& text : texts) out.String(text);
  out.EndArray();
}

void WriteSummary(json::Writer& out, const Summary& summary) {
  out.Key("summary").BeginObject();
  out.Field("backup_start", FormatTime(summary.backup_start));
  out.Field("backup_end", FormatTime(summary.backup_end));
  out.Field("files_new", summary.files_new);
  out.Field("files_changed", summary.files_changed);
  out.Field("files_unmodified", summary.files_unmodified);
  out.Field("dirs_new", summary.dirs_new);
  out.Field("dirs_changed", summary.dirs_changed);
  out.Field("dirs_unmodified", summary.dirs_unmodified);
  out.Field("data_blobs", summary.data_blobs);
  out.Field("tree_blobs", summary.tree_blobs);
  out.Field("data_added", summary.data_added);
  out.Field("data_added_packed", summary.data_added_packed);
  out.Field("total_files_processed", summary.total_files_processed);
  out.Field("total_bytes_processed", summary.total_bytes_processed);
  out.EndObject();
}

Result<Summary> ReadSummary(const boost::json::object& object) {
  Members members("summary of a snapshot", object);
  Summary summary;
  summary.backup_start = members.When("backup_start");
  summary.backup_end = members.When("backup_end");
  summary.files_new = members.Number<uint64_t>("files_new");
  summary.files_changed = members.Number<uint64_t>("files_changed");
  summary.files_unmodified = members.Number<uint64_t>("files_unmodified");
  summary.dirs_new = members.Number<uint64_t>("dirs_new");
  summary.dirs_changed = members.Number<uint64_t>("dirs_changed");
  summary.dirs_unmodified = members.Number<uint64_t>("dirs_unmodified");
  summary.data_blobs = members.Number<uint64_t>("data_blobs");
  summary.tree_blobs = members.Number<uint64_t>("tree_blobs");
  summary.data_added = members.Number<uint64_t>("data_added");
  summary.data_added_packed = members.Number<uint64_t>("data_added_packed");
  summary.total_files_processed = members.Number<uint64_t>("total_files_processed");
  summary.total_bytes_processed = members.Number<uint64_t>("total_bytes_processed");
  TRY(members.Done());
  return summary;
}

}  // namespace

std::string EncodeSnapshot(const SnapshotRecord& record) {
  json::Writer out;
  out.BeginObject();
  out.Field("time", FormatTime(record.time));
  if (record.parent) out.Field("parent", record.parent->Hex());
  out.Field("tree", record.tree.Hex());
  WriteTexts(out, "paths", record.paths);
  if (!record.hostname.empty()) out.Field("hostname", record.hostname);
  if (!record.username.empty()) out.Field("username", record.username);
  if (record.uid != 0) out.Field("uid", record.uid);
  if (record.gid != 0) out.Field("gid", record.gid);
  if (!record.excludes.empty()) WriteTexts(out, "excludes", record.excludes);
  if (!record.tags.empty()) WriteTexts(out, "tags", record.tags);
  if (record.original) out.Field("original", record.original->Hex());
  if (!record.program_version.empty()) out.Field("program_version", record.program_version);
  if (record.summary) WriteSummary(out, *record.summary);
  out.EndObject();
  return out.Take();
}

Result<SnapshotRecord> DecodeSnapshot(std::string_view json) {
  ASSIGN(boost::json::value value, ParseRecord("snapshot", json));
  Members members("snapshot", value.get_object());
  SnapshotRecord record;
  record.time = members.When("time");
  record.parent = members.OptionalId("parent");
  auto tree = members.OptionalId("tree");
  if (!tree) members.Wrong("tree");
  record.tree = tree.value_or(Id{});
  record.paths = members.Texts("paths");
  record.hostname = members.Text("hostname");
  record.username = members.Text("username");
  record.uid = members.Number<uint32_t>("uid");
  record.gid = members.Number<uint32_t>("gid");
  record.excludes = members.Texts("excludes");
  record.tags = members.Texts("tags");
  record.original = members.OptionalId("original");
  record.program_version = members.Text("program_version");
  if (const auto* summary = members.Object("summary")) {
    ASSIGN(record.summary, ReadSummary(*summary));
  }
  TRY(members.Done());
  return record;
}

std::string EncodeLock(const LockRecord& record) {
  json::Writer out;
  out.BeginObject();
  out.Field("time", FormatTime(record.time));
  out.Field("exclusive", record.exclusive);
  out.Field("hostname", record.hostname);
  out.Field("username", record.username);
  out.Field("pid", record.pid);
  if (record.uid != 0) out.Field("uid", record.uid);
  if (record.gid != 0) out.Field("gid", record.gid);
  out.EndObject();
  return out.Take();
}

Result<LockRecord> DecodeLock(std::string_view json) {
  ASSIGN(boost::json::value value, ParseRecord("lock", json));
  Members members("lock", value.get_object());
  LockRecord record;
  if (members.Text("time").empty()) members.Wrong("time");
  record.time = members.When("time");
  record.exclusive = members.Bool("exclusive");
  record.hostname = members.Text("hostname");
  record.username = members.Text("username");
  record.pid = members.Number<int64_t>("pid");
  record.uid = members.Number<uint32_t>("uid");
  record.gid = members.Number<uint32_t>("gid");
  TRY(members.Done());
  return record;
}

}  // namespace atl::repository
