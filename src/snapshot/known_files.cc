// SPDX-License-Identifier: Apache-2.0
#include "snapshot/known_files.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "crypto/sha256.h"
#include "sys/fd.h"

namespace atl::snapshot {
namespace {

constexpr std::string_view kMagic = "atoll known files 1\n";
constexpr size_t kRecord = 36;
constexpr size_t kDigest = 32;
// Ten million files.
constexpr size_t kMaxTable = 360U << 20U;

uint64_t First8(std::string_view bytes) {
  crypto::Sha256::Digest digest = crypto::Sha256Of(bytes);
  uint64_t value = 0;
  std::memcpy(&value, digest.data(), sizeof(value));
  return value;
}

std::string Name(const std::string& text) { return crypto::Sha256Hex(text).substr(0, 32); }

std::string NameOf(const std::string& owner, const std::string& dir) {
  return Name(owner) + "-" + Name(dir);
}

void Append(std::string& out, const void* value, size_t size) {
  out.append(static_cast<const char*>(value), size);
}

std::string_view DigestBytes(const crypto::Sha256::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

uint64_t HashOfPath(std::string_view path) { return First8(path); }

uint64_t HashOfContent(const std::vector<repository::Id>& content) {
  uint64_t value = 0;
  if (content.size() == 1) {
    std::memcpy(&value, content[0].bytes.data(), sizeof(value));
    return value;
  }
  std::string ids;
  ids.reserve(content.size() * 32);
  for (const repository::Id& id : content) Append(ids, id.bytes.data(), id.bytes.size());
  return First8(ids);
}

KnownFiles::KnownFiles(std::vector<KnownFile> files) : files_(std::move(files)) {
  std::ranges::sort(files_, {}, &KnownFile::path);
  size_t kept = 0;
  for (size_t i = 0; i < files_.size();) {
    size_t next = i + 1;
    while (next < files_.size() && files_[next].path == files_[i].path) ++next;
    if (next == i + 1) files_[kept++] = files_[i];
    i = next;
  }
  files_.resize(kept);
  files_.shrink_to_fit();
}

bool KnownFiles::Has(std::string_view path, const std::vector<repository::Id>& content,
                     uint64_t inode, const repository::Time& ctime) const {
  uint64_t hash = HashOfPath(path);
  auto at = std::ranges::lower_bound(files_, hash, {}, &KnownFile::path);
  return at != files_.end() && at->path == hash && at->inode == inode && at->ctime == ctime &&
         at->content == HashOfContent(content);
}

std::string KnownFiles::Encode() const {
  std::string out(kMagic);
  out.reserve(kMagic.size() + files_.size() * kRecord + kDigest);
  for (const KnownFile& file : files_) {
    Append(out, &file.path, 8);
    Append(out, &file.content, 8);
    Append(out, &file.inode, 8);
    Append(out, &file.ctime.seconds, 8);
    Append(out, &file.ctime.nanos, 4);
  }
  out += DigestBytes(crypto::Sha256Of(out));
  return out;
}

std::shared_ptr<const KnownFiles> KnownFiles::Decode(std::string_view text) {
  if (text.size() < kMagic.size() + kDigest || !text.starts_with(kMagic)) return nullptr;
  std::string_view body = text.substr(0, text.size() - kDigest);
  if (DigestBytes(crypto::Sha256Of(body)) != text.substr(body.size())) return nullptr;
  body.remove_prefix(kMagic.size());
  if (body.size() % kRecord != 0) return nullptr;
  std::vector<KnownFile> files(body.size() / kRecord);
  for (KnownFile& file : files) {
    std::memcpy(&file.path, body.data(), 8);
    std::memcpy(&file.content, body.data() + 8, 8);
    std::memcpy(&file.inode, body.data() + 16, 8);
    std::memcpy(&file.ctime.seconds, body.data() + 24, 8);
    std::memcpy(&file.ctime.nanos, body.data() + 32, 4);
    body.remove_prefix(kRecord);
  }
  return std::make_shared<const KnownFiles>(std::move(files));
}

KnownFilesStore::Table KnownFilesStore::Get(const std::string& owner, const std::string& dir) {
  std::string name = NameOf(owner, dir);
  {
    std::lock_guard guard(mutex_);
    auto at = std::ranges::find(entries_, name, &Entry::name);
    if (at != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, at);
      return at->table;
    }
  }
  if (directory_.empty()) return nullptr;
  auto text = sys::ReadFile(directory_ + "/" + name, kMaxTable);
  if (!text) return nullptr;
  Table table = KnownFiles::Decode(*text);
  if (table) Remember(name, table);
  return table;
}

void KnownFilesStore::Put(const std::string& owner, const std::string& dir, Table table) {
  std::string name = NameOf(owner, dir);
  Remember(name, table);
  if (directory_.empty()) return;
  // Whole or not at all, but not worth waiting for a disk.
  std::string path = directory_ + "/" + name;
  std::string temporary = path + ".new";
  auto made = sys::MakeDirs(directory_, 0700);
  if (made) made = sys::WriteFile(temporary, table->Encode(), 0600);
  if (made && ::rename(temporary.c_str(), path.c_str()) == 0) return;
  ::unlink(temporary.c_str());
  log::Warning("what is known of files in {} cannot be kept in {}", dir, directory_);
}

void KnownFilesStore::Forget(const std::string& owner) {
  std::string prefix = Name(owner) + "-";
  {
    std::lock_guard guard(mutex_);
    for (auto at = entries_.begin(); at != entries_.end();) {
      if (!at->name.starts_with(prefix)) {
        ++at;
        continue;
      }
      bytes_ -= at->table->bytes();
      at = entries_.erase(at);
    }
  }
  if (directory_.empty()) return;
  std::unique_ptr<DIR, int (*)(DIR*)> names(::opendir(directory_.c_str()), ::closedir);
  if (!names) return;
  while (const dirent* entry = ::readdir(names.get())) {
    std::string name = entry->d_name;
    if (name.starts_with(prefix)) ::unlink((directory_ + "/" + name).c_str());
  }
}

void KnownFilesStore::Remember(const std::string& name, Table table) {
  std::lock_guard guard(mutex_);
  auto at = std::ranges::find(entries_, name, &Entry::name);
  if (at != entries_.end()) {
    bytes_ -= at->table->bytes();
    entries_.erase(at);
  }
  bytes_ += table->bytes();
  entries_.push_front({.name = name, .table = std::move(table)});
  while (bytes_ > limit_ && entries_.size() > 1) {
    bytes_ -= entries_.back().table->bytes();
    entries_.pop_back();
  }
}

KnownFilesStore& KnownFilesStore::OfProcess() {
  static KnownFilesStore store;
  return store;
}

}  // namespace atl::snapshot
