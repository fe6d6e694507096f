// SPDX-License-Identifier: Apache-2.0
#include "api/v1/snapshot_json.h"

#include <fmt/format.h>

#include "json/utf8.h"

namespace atl::api {
namespace {

std::string_view TypeName(repository::NodeType type) {
  using repository::NodeType;
  switch (type) {
    case NodeType::kFile:
      return "file";
    case NodeType::kDirectory:
      return "dir";
    case NodeType::kSymlink:
      return "symlink";
    case NodeType::kFifo:
      return "fifo";
    case NodeType::kSocket:
      return "socket";
    case NodeType::kDevice:
    case NodeType::kCharDevice:
      return "device";
  }
  return "unknown";
}

std::string_view KindName(snapshot::DiffEntry::Kind kind) {
  using Kind = snapshot::DiffEntry::Kind;
  switch (kind) {
    case Kind::kAdded:
      return "added";
    case Kind::kChanged:
      return "changed";
    case Kind::kRemoved:
      return "removed";
    case Kind::kMetadata:
      return "metadata";
  }
  return "unknown";
}

// Names are bytes. One that is not text comes as base64 beside what of it can be read.
void WriteName(json::Writer& writer, std::string_view key, std::string_view name) {
  writer.Field(key, name);
  if (json::IsUtf8(name)) return;
  std::string encoded = "\"";
  json::AppendBase64(encoded, name);
  encoded += '"';
  writer.Key(fmt::format("{}Base64", key)).Raw(encoded);
}

}  // namespace

void WriteSnapshot(json::Writer& writer, const repository::SnapshotRecord& record) {
  repository::Tags tags = record.decoded_tags();
  std::string dir = tags.dir.empty() && !record.paths.empty() ? record.paths[0] : tags.dir;
  writer.BeginObject().Field("snapshotId", record.id().Hex());
  writer.Field("sandbox", tags.sandbox).Field("dir", dir).Field("name", tags.name);
  writer.Field("trigger", repository::TriggerName(tags.trigger));
  writer.Field("createdAt", repository::FormatTime(record.time));
  if (tags.expires_at) {
    writer.Field("expiresAt", repository::FormatTime({.seconds = *tags.expires_at}));
  }
  writer.Field("pinned", tags.pinned);
  writer.Field("consistency", tags.frozen ? "frozen" : "best-effort");
  writer.Key("tags").BeginArray();
  for (const std::string& label : tags.labels) writer.String(label);
  writer.EndArray();
  if (record.parent) writer.Field("parent", record.parent->Hex());
  writer.Field("tree", record.tree.Hex()).Field("hostname", record.hostname);
  if (record.summary) {
    writer.Field("files", record.summary->total_files_processed);
    writer.Field("bytes", record.summary->total_bytes_processed);
    writer.Field("bytesAdded", record.summary->data_added_packed);
    writer.Field("filesNew", record.summary->files_new);
    writer.Field("filesChanged", record.summary->files_changed);
  }
  writer.EndObject();
}

void WriteNode(json::Writer& writer, const repository::Node& node) {
  writer.BeginObject();
  WriteName(writer, "name", node.name);
  writer.Field("type", TypeName(node.type)).Field("size", node.size);
  writer.Field("mode", fmt::format("{:04o}", node.permissions));
  writer.Field("uid", node.uid).Field("gid", node.gid);
  writer.Field("mtime", repository::FormatTime(node.mtime));
  if (node.type == repository::NodeType::kSymlink) {
    WriteName(writer, "target", node.link_target());
  }
  writer.EndObject();
}

void WriteDiff(json::Writer& writer, const snapshot::Diff& diff) {
  writer.Field("added", diff.added).Field("changed", diff.changed);
  writer.Field("removed", diff.removed).Field("metadata", diff.metadata);
  writer.Field("bytesAdded", diff.bytes_added).Field("bytesRemoved", diff.bytes_removed);
  writer.Field("truncated", diff.truncated).Key("entries").BeginArray();
  for (const snapshot::DiffEntry& entry : diff.entries) {
    writer.BeginObject().Field("change", KindName(entry.kind));
    WriteName(writer, "path", entry.path);
    writer.Field("type", TypeName(entry.type));
    writer.Field("oldSize", entry.old_size).Field("newSize", entry.new_size).EndObject();
  }
  writer.EndArray();
}

}  // namespace atl::api
