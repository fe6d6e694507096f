// SPDX-License-Identifier: Apache-2.0
#include "protocol/tree.h"

#include <sys/stat.h>

#include <algorithm>

namespace atl::protocol {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxXattr = 64U << 10U;
constexpr uint32_t kMaxMode = 0xffff;
constexpr uint32_t kNanosPerSecond = 1'000'000'000;

bool HasNul(std::string_view bytes) { return bytes.find('\0') != std::string_view::npos; }

// What is wrong with a part of a record; empty: nothing.

std::string_view Wrong(const EntryMeta& meta) {
  if (meta.mode > kMaxMode) return "a mode has unknown bits";
  if (meta.mtime.nanos >= kNanosPerSecond) return "a time has too many nanoseconds";
  for (const auto& [name, value] : meta.xattrs) {
    if (name.empty() || name.size() > kMaxName || HasNul(name)) {
      return "the name of an extended attribute is not usable";
    }
    if (value.size() > kMaxXattr) return "an extended attribute is too long";
  }
  return {};
}

std::string_view WrongTarget(std::string_view target) {
  if (target.size() >= kMaxPath || HasNul(target)) return "the target of a link is not usable";
  return {};
}

std::string_view WrongPath(std::string_view path) {
  return IsTreePath(path) ? std::string_view() : "a path is not usable";
}

std::string_view WrongEntry(const TreeEntry& entry) {
  if (auto wrong = Wrong(entry.meta); !wrong.empty()) return wrong;
  if (entry.ctime.nanos >= kNanosPerSecond) return "a time has too many nanoseconds";
  switch (entry.meta.mode & S_IFMT) {
    case S_IFLNK:
      return entry.link_target.empty() ? "a symbolic link has no target"
                                       : WrongTarget(entry.link_target);
    case S_IFREG:
    case S_IFDIR:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return entry.link_target.empty() ? "" : "something else than a symbolic link has a target";
    default:
      return "an entry is of an unknown type";
  }
}

std::string_view Wrong(const TreeEntry& entry) {
  if (!entry.name.empty() && !IsEntryName(entry.name)) return "a name is not usable";
  return WrongEntry(entry);
}
std::string_view Wrong(const LeaveDir&) { return {}; }
std::string_view Wrong(const SkippedEntry& entry) {
  return IsEntryName(entry.name) ? std::string_view() : "a name is not usable";
}
std::string_view Wrong(const WantFile& want) { return WrongPath(want.path); }
std::string_view Wrong(const FileBegin& file) {
  return file.entry.name.empty() ? WrongEntry(file.entry) : "a file that is read has a name";
}
std::string_view Wrong(const FileHole&) { return {}; }
std::string_view Wrong(const FileEnd&) { return {}; }
std::string_view Wrong(const StageDir& dir) { return WrongPath(dir.path); }
std::string_view Wrong(const StageFile& file) {
  if (auto wrong = WrongPath(file.path); !wrong.empty()) return wrong;
  return Wrong(file.meta);
}
std::string_view Wrong(const StageEnd&) { return {}; }
std::string_view Wrong(const StageSpecial& special) {
  if (auto wrong = WrongPath(special.path); !wrong.empty()) return wrong;
  if (!special.hard_link_to.empty()) return WrongPath(special.hard_link_to);
  if (auto wrong = WrongTarget(special.link_target); !wrong.empty()) return wrong;
  return Wrong(special.meta);
}
std::string_view Wrong(const StageMeta& meta) {
  if (auto wrong = WrongPath(meta.path); !wrong.empty()) return wrong;
  return Wrong(meta.meta);
}
std::string_view Wrong(const Change& change) {
  bool itself = change.kind == ChangeKind::kMeta && change.path.empty();
  if (!itself && !IsTreePath(change.path)) return "a path is not usable";
  bool staged = change.kind == ChangeKind::kPut;
  if (staged != !change.staged.empty()) return "a change and what is staged do not fit";
  if (staged && !IsTreePath(change.staged)) return "a path is not usable";
  return Wrong(change.meta);
}

Unexpected Invalid(std::string_view why) {
  return Fail(Code::kInvalidArgument, "malformed record: " + std::string(why), "INVALID_FRAME");
}

template <class R>
Result<std::optional<TreeRecord>> Read(Reader* reader, std::string_view* rest) {
  std::optional<TreeRecord> result(std::in_place, std::in_place_type<R>);
  auto& record = std::get<R>(*result);
  (*reader)(record);
  if (!reader->ok()) return Invalid(reader->failure());
  if (auto wrong = Wrong(record); !wrong.empty()) return Invalid(wrong);
  *rest = reader->rest();
  return result;
}

template <>
Result<std::optional<TreeRecord>> Read<FileBytes>(Reader* reader, std::string_view* rest) {
  FileBytes record;
  record.tag = reader->U32();
  record.offset = reader->U64();
  record.bytes = reader->View(reader->U32());
  if (!reader->ok()) return Invalid(reader->failure());
  *rest = reader->rest();
  return record;
}

template <size_t kIndex = 0>
Result<std::optional<TreeRecord>> ReadKind(uint8_t kind, Reader* reader, std::string_view* rest) {
  if constexpr (kIndex == std::variant_size_v<TreeRecord>) {
    return Invalid("unknown kind " + std::to_string(kind));
  } else {
    using R = std::variant_alternative_t<kIndex, TreeRecord>;
    if (kind == R::kKind) return Read<R>(reader, rest);
    return ReadKind<kIndex + 1>(kind, reader, rest);
  }
}

}  // namespace

bool IsEntryName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name == "." || name == "..") return false;
  return name.find('/') == std::string_view::npos && !HasNul(name);
}

bool IsTreePath(std::string_view path) {
  if (path.size() > kMaxPath) return false;
  while (true) {
    size_t end = std::min(path.find('/'), path.size());
    if (!IsEntryName(path.substr(0, end))) return false;
    if (end == path.size()) return true;
    path.remove_prefix(end + 1);
  }
}

void RecordWriter::AddBytes(uint32_t tag, uint64_t offset, std::string_view bytes) {
  Writer writer(std::move(payload_));
  writer.U8(FileBytes::kKind);
  writer.U32(tag);
  writer.U64(offset);
  writer.String(bytes);
  payload_ = std::move(writer).Take();
}

Result<std::optional<TreeRecord>> RecordReader::Next() {
  if (rest_.empty()) return std::nullopt;
  Reader reader(rest_);
  uint8_t kind = reader.U8();
  auto record = ReadKind(kind, &reader, &rest_);
  if (!record) rest_ = {};
  return record;
}

}  // namespace atl::protocol
